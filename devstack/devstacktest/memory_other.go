//go:build !linux

package devstacktest

func memoryDir() string { return "" }
