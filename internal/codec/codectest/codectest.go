// Package codectest compares the generated code of a type with encoding/json.
package codectest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"bryo/internal/codec"
)

// Check writes and reads random values of T both ways, zero values among them. It fails
// when a field was added and `make generate` was not run.
func Check[T any](t *testing.T) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		value := new(T)
		if round > 0 {
			fill(rng, reflect.ValueOf(value).Elem(), 0)
		}
		want, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := any(value).(codec.Marshaler); !ok {
			t.Fatalf("%T has no code: mark it and run make generate", value)
		}
		got, err := codec.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := plain(t, want), plain(t, got); !reflect.DeepEqual(a, b) {
			t.Fatalf("%T is written as\n%s\nencoding/json writes\n%s", value, got, want)
		}
		for _, text := range [][]byte{want, got} {
			slow, quick := new(T), new(T)
			if err := json.Unmarshal(text, slow); err != nil {
				t.Fatal(err)
			}
			if !codec.Quick(text, quick) {
				t.Fatalf("%T: not read: %s", value, text)
			}
			if !reflect.DeepEqual(slow, quick) {
				t.Fatalf("%T: %s\nis read as   %+v\nencoding/json %+v", value, text, quick, slow)
			}
		}
	}
	for _, text := range []string{"", "null x", "[]", "7", "{", `{"a":`, "{}}", `{"id":"x"} {`} {
		value := new(T)
		if codec.Quick([]byte(text), value) && json.Unmarshal([]byte(text), new(T)) != nil {
			t.Errorf("%T: %q is read", value, text)
		}
		if err := codec.Unmarshal([]byte(text), value); (err == nil) != (json.Unmarshal([]byte(text), new(T)) == nil) {
			t.Errorf("%T: Unmarshal(%q) = %v, encoding/json differs", value, text, err)
		}
	}
}

func plain(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

var words = []string{"", "a", "/bin/sh", "<&>", "\u2028\t\"\\", "\x00\x7f", "not \xff UTF-8", "ü"}

func fill(rng *rand.Rand, v reflect.Value, depth int) {
	if rng.IntN(5) == 0 {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(rng.Int64N(1<<33), rng.Int64N(1e9)).UTC()))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr([]string{"10.0.0.1", "fd00::1"}[rng.IntN(2)])))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.1.0.0/16")))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(words[rng.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rng.Int64() >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rng.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(rng.IntN(1000)) / 8)
	case reflect.Pointer:
		if depth < 6 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem(), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(3), 3))
		for i := range v.Len() {
			fill(rng, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range rng.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(rng, key, depth+1)
			fill(rng, value, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(rng, v.Field(i), depth+1)
			}
		}
	default:
		panic(fmt.Sprintf("codectest: %v is not filled", v.Type()))
	}
}
