package engine

import (
	"os"

	"bryo/internal/images"
)

// Login tries credentials on a registry and stores them. It returns the file that
// holds the password as it is, if one does.
func Login(args images.LoginArgs) (plainFile string, err error) {
	var result images.LoginResult
	err = images.Call(images.Host{Env: os.Environ()}, images.OpLogin, args, &result)
	return result.PlainFile, err
}

// Logout forgets the credentials of a registry; false: there were none.
func Logout(server string) (had bool, err error) {
	var result images.LogoutResult
	err = images.Call(images.Host{Env: os.Environ()}, images.OpLogout, images.LogoutArgs{Server: server}, &result)
	return result.Had, err
}
