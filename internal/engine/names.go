package engine

import "math/rand/v2"

// Two words and, when they are taken, another try: names are for people.
var (
	nameLeft = []string{
		"amber", "ashen", "bold", "brave", "bright", "brisk", "calm", "clever", "cool", "crisp", "damp", "deep",
		"dewy", "eager", "early", "fair", "fern", "fleet", "fresh", "gentle", "glad", "golden", "green", "hardy",
		"hidden", "humble", "keen", "kind", "late", "light", "lively", "lone", "lucid", "lush", "mellow", "merry",
		"mild", "misty", "mossy", "neat", "nimble", "noble", "pale", "patient", "plain", "proud", "quick", "quiet",
		"rapid", "rare", "rosy", "shady", "silent", "silver", "sleek", "smooth", "soft", "spry", "steady", "still",
		"sunny", "swift", "tidy", "verdant", "vivid", "warm", "wild", "wise",
	}
	nameRight = []string{
		"alder", "aspen", "beech", "birch", "bracken", "briar", "brook", "burdock", "cedar", "clover", "cone",
		"copse", "creek", "cypress", "dale", "dune", "elder", "elm", "fen", "fern", "fir", "fjord", "forest",
		"frond", "glade", "glen", "grove", "hazel", "heath", "heather", "holly", "hornwort", "ivy", "juniper",
		"larch", "leaf", "lichen", "linden", "maple", "marsh", "meadow", "mire", "moor", "moss", "nettle", "oak",
		"peat", "pebble", "pine", "pond", "poplar", "reed", "ridge", "river", "rowan", "rush", "sedge", "shore",
		"sorrel", "sphagnum", "spore", "spruce", "stone", "tarn", "thicket", "thistle", "vale", "willow", "yew",
	}
)

func randomName() string {
	return nameLeft[rand.IntN(len(nameLeft))] + "_" + nameRight[rand.IntN(len(nameRight))]
}
