package server

import (
	"context"

	"bryo/internal/images"
	"bryo/rootfs/registry"
	"bryo/rootfs/registry/credential"
)

func login(ctx context.Context, r *role) (any, error) {
	a, err := args[images.LoginArgs](r)
	if err != nil {
		return nil, err
	}
	who := credential.Credential{Username: a.Username, Password: a.Password}
	stored, err := registry.Login(ctx, a.Server, who, registry.LoginOptions{})
	if err != nil {
		return nil, err
	}
	var result images.LoginResult
	if stored.Plain() {
		result.PlainFile = stored.File
	}
	return result, nil
}

func logout(_ context.Context, r *role) (any, error) {
	a, err := args[images.LogoutArgs](r)
	if err != nil {
		return nil, err
	}
	had, err := registry.Logout(a.Server, registry.Options{})
	return images.LogoutResult{Had: had}, err
}
