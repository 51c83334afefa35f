package server

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/internal/images"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
	"bryo/rootfs/registry"
)

// manifest fetches what a name stands for in its registry.
func manifest(ctx context.Context, r *role) (any, error) {
	a, err := args[images.ManifestArgs](r)
	if err != nil {
		return nil, err
	}
	ref, err := reference.Parse(a.Reference)
	if err != nil {
		return nil, err
	}
	o := registry.Options{Insecure: a.Insecure, PartialDir: r.partialDir()}
	m, err := registry.GetManifest(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	result := images.Manifest{
		Reference: ref.String(), MediaType: string(m.MediaType), Digest: m.Digest.String(), Raw: m.Raw, List: m.IsIndex(),
	}
	if a.Config && !result.List {
		result.Platform, err = platformIn(ctx, ref, m, o)
	}
	return result, err
}

// platformIn reads the configuration that a manifest names.
func platformIn(ctx context.Context, ref reference.Reference, m registry.Manifest, o registry.Options) (images.Platform, error) {
	pinned, err := ref.WithDigest(m.Digest.String())
	if err != nil {
		return images.Platform{}, err
	}
	img, err := registry.Pull(ctx, pinned, o)
	if err != nil {
		return images.Platform{}, err
	}
	defer img.Close()
	raw, err := img.RawConfigFile()
	if err != nil {
		return images.Platform{}, err
	}
	config, err := image.ParseConfig(raw)
	if err != nil {
		return images.Platform{}, err
	}
	return images.Platform{Architecture: config.Architecture, OS: config.OS, OSVersion: config.OSVersion, Variant: config.Variant}, nil
}

// pushManifest stores a list, after the images that it names.
func pushManifest(ctx context.Context, r *role) (any, error) {
	a, err := args[images.ManifestPushArgs](r)
	if err != nil {
		return nil, err
	}
	ref, err := reference.Parse(a.Reference)
	if err != nil {
		return nil, err
	}
	o := registry.Options{Insecure: a.Insecure, PartialDir: r.partialDir()}
	for _, source := range a.Sources {
		if err := copyManifest(ctx, source, ref, o); err != nil {
			return nil, err
		}
	}
	digest, err := registry.PutManifest(ctx, ref, registry.Manifest{MediaType: types.MediaType(a.MediaType), Raw: a.Raw}, o)
	if err != nil {
		return nil, err
	}
	return images.ManifestPushResult{Digest: digest.String()}, nil
}

// copyManifest brings one image of a list into the list's repository: its layers
// are mounted from where they are, if that is the same registry, else copied.
func copyManifest(ctx context.Context, source string, to reference.Reference, o registry.Options) error {
	from, err := reference.Parse(source)
	if err != nil {
		return err
	}
	if from.Name() == to.Name() {
		return nil
	}
	img, err := registry.Pull(ctx, from, o)
	if err != nil {
		return err
	}
	defer img.Close()
	target := reference.Reference{Domain: to.Domain, Path: to.Path}
	if target, err = target.WithDigest(from.Digest); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if from.Domain == to.Domain {
		o.MountFrom = []string{from.Path}
	}
	_, err = registry.Push(ctx, target, img, o)
	return err
}

// search asks a registry for repositories.
func search(ctx context.Context, r *role) (any, error) {
	a, err := args[images.SearchArgs](r)
	if err != nil {
		return nil, err
	}
	list, err := registry.Search(ctx, a.Term, a.Limit, registry.Options{})
	if err != nil {
		return nil, err
	}
	result := images.SearchResult{}
	for _, one := range list {
		result.Found = append(result.Found, images.Found(one))
	}
	return result, nil
}
