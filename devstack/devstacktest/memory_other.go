//go:build !linux

package devstacktest

func useMemory() (string, error) { return "", nil }
