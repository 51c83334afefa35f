package engine

import (
	"context"
	"os"
	"strings"

	"bryo/internal/images"
	"bryo/rootfs/image"
)

// call runs one operation of the image role.
func (e *Engine) call(op string, args, result any) error {
	return e.callWith(op, args, result, nil, nil)
}

func (e *Engine) callWith(op string, args, result any, stdin, stdout *os.File) error {
	if err := e.ready(); err != nil {
		return err
	}
	host := e.host()
	host.Stdin, host.Stdout = stdin, stdout
	return images.Call(host, op, args, result)
}

func (e *Engine) host() images.Host {
	return images.Host{Root: e.Root, Mapping: e.mapping(), Debug: e.debug, Env: roleEnv()}
}

// roleEnv is what a role may see of the user's environment: where things are,
// how to reach registries, what the terminal can do. Nothing of it reaches a
// container (A71).
func roleEnv() []string {
	var env []string
	for _, name := range []string{
		"HOME", "PATH", "USER", "TERM", "COLUMNS", "NO_COLOR", "LANG", "LC_ALL", "TMPDIR",
		"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG",
		"CONTAINERS_REGISTRIES_CONF", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Pull fetches an image from its registry into the store.
func (e *Engine) Pull(_ context.Context, args images.PullArgs, toStderr bool) (*images.PullResult, error) {
	var result images.PullResult
	stdout := os.Stdout
	if toStderr {
		stdout = os.Stderr // `run` keeps stdout for the container
	}
	err := e.callWith(images.OpPull, args, &result, nil, stdout)
	if err == nil {
		e.announceImage("pull", args.Reference, args.Reference)
	}
	return &result, err
}

// Push uploads an image to its registry.
func (e *Engine) Push(args images.PushArgs) (*images.PushResult, error) {
	var result images.PushResult
	err := e.callWith(images.OpPush, args, &result, nil, os.Stdout)
	if err == nil {
		e.announceImage("push", args.Reference, args.Reference)
	}
	return &result, err
}

// Images lists what the store holds, newest first. Like all that only reads, it
// needs no namespace.
func (e *Engine) Images(filter image.Filter) ([]image.Summary, error) {
	return image.Summaries(e.Root, filter)
}

// RemoveImages untags and deletes.
func (e *Engine) RemoveImages(args images.RemoveArgs) (*images.RemoveResult, error) {
	done := e.promise(e.imageRemovals())
	var result images.RemoveResult
	err := e.call(images.OpRemove, args, &result)
	e.announceLines(result.Lines)
	done(err)
	return &result, err
}

// Tag gives an image another name.
func (e *Engine) Tag(args images.TagArgs) error {
	err := e.call(images.OpTag, args, nil)
	if err == nil {
		e.announceImage("tag", args.Source, args.Target)
	}
	return err
}

// InspectImage returns docker's JSON of an image.
func (e *Engine) InspectImage(name, platform string) (*image.Inspect, error) {
	return image.InspectImage(e.Root, name, platform)
}

// ImageSize is the size of all layers of an image, unpacked; 0 when it is not known.
func (e *Engine) ImageSize(id string) int64 {
	inspected, err := e.InspectImage(id, "")
	if err != nil {
		return 0
	}
	return inspected.Size
}

// History returns an image's steps, newest first.
func (e *Engine) History(name, platform string) ([]image.HistoryEntry, error) {
	return image.HistoryOf(e.Root, name, platform)
}

// PruneImages removes images that nothing uses.
func (e *Engine) PruneImages(args images.PruneArgs) (*images.PruneResult, error) {
	done := e.promise(e.imageRemovals())
	var result images.PruneResult
	err := e.call(images.OpPrune, args, &result)
	e.announceLines(result.Lines)
	done(err)
	if err == nil {
		e.announceImage("prune", "", "")
	}
	return &result, err
}

// Load reads images from an archive.
func (e *Engine) Load(args images.LoadArgs) (*images.LoadResult, error) {
	var result images.LoadResult
	err := e.callWith(images.OpLoad, args, &result, os.Stdin, nil)
	for _, line := range result.Loaded {
		_, name, _ := strings.Cut(line, ": ")
		e.announceImage("load", name, name)
	}
	return &result, err
}

// Save writes images to an archive.
func (e *Engine) Save(args images.SaveArgs) error {
	err := e.callWith(images.OpSave, args, nil, nil, os.Stdout)
	if err == nil {
		for _, name := range args.References {
			e.announceImage("save", name, name)
		}
	}
	return err
}

// Import makes an image of a root file system's archive and returns its id.
func (e *Engine) Import(args images.ImportArgs) (string, error) {
	var result images.ImportResult
	err := e.callWith(images.OpImport, args, &result, os.Stdin, nil)
	if err == nil {
		e.announceImage("import", result.ID, args.Reference)
	}
	return result.ID, err
}
