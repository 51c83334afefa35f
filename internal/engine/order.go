package engine

import "sort"

func sortNewest(list []*Container) {
	sort.SliceStable(list, func(i, j int) bool { return list[i].Created.After(list[j].Created) })
}
