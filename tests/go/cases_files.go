package main

// Sandbox.Filesystem: write, read, list, stat, make, remove, watch, copies, and its errors.

import (
	"fmt"
	"os"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"
)

var filesCases = []testCase{
	{"bytes and text are written and read", func(p *place) {
		files, top := fresh(p.sandbox())
		path := top + "/with/parents/file"
		for _, data := range [][]byte{{0, 255, 13, 10}, {}, {1, 2}} {
			must(files.WriteBytes(background, data, path, nil))
			read, err := files.ReadBytes(background, path, nil)
			must(err)
			same(read, data)
		}
		const text = "unicode: \u2603\U0001f389\n"
		must(files.WriteText(background, text, path, nil))
		read, err := files.ReadText(background, path, nil)
		must(err)
		equal(read, text)
	}},
	{"large files are copied both ways", func(p *place) {
		files, top := fresh(p.sandbox())
		local, err := os.MkdirTemp("", "doorward-test-")
		must(err)
		defer os.RemoveAll(local)
		data := noise(10 << 20)
		must(os.WriteFile(local+"/up", data, 0o600))
		must(files.CopyFromLocal(background, local+"/up", top+"/file", nil))
		must(files.CopyToLocal(background, top+"/file", local+"/new/down", nil))
		read, err := os.ReadFile(local + "/new/down")
		must(err)
		same(read, data)
	}},
	{"directories are listed and described", func(p *place) {
		sandbox := p.sandbox()
		files, top := fresh(sandbox)
		must(files.MakeDirectory(background, top+"/sub/deep", nil))
		must(files.WriteText(background, "hello", top+"/zebra", nil))
		sandbox.run(fmt.Sprintf("ln -s zebra %s/alpha", top))
		entries, err := files.ListFiles(background, top, nil)
		must(err)
		equal(len(entries), 3)
		for at, want := range []string{"alpha symlink", "sub directory", "zebra file"} {
			equal(fmt.Sprintf("%s %s", entries[at].Name, entries[at].Type), want)
		}
		equal(*entries[0].SymlinkTarget, "zebra")
		zebra, err := files.Stat(background, top+"/zebra", nil)
		must(err)
		equal(*zebra, entries[2])
		got := fmt.Sprintf("%d %s %s,%s\n", zebra.Size, zebra.Permissions, zebra.Owner, zebra.Group)
		equal(got, sandbox.run(fmt.Sprintf("stat -c '%%s 0%%a %%U,%%G' %s/zebra", top)))
		recursive := &modal.SandboxFilesystemRemoveParams{Recursive: true}
		must(files.Remove(background, top+"/sub", recursive))
		must(files.Remove(background, top+"/zebra", nil))
		equal(sandbox.run("ls "+top), "alpha\n")
	}},
	{"errors are the client's own kinds", func(p *place) {
		files, top := fresh(p.sandbox())
		must(files.WriteText(background, "words", top+"/sub/file", nil))
		_, err := files.ReadBytes(background, top+"/none", nil)
		fails[modal.SandboxFilesystemNotFoundError](err)
		_, err = files.Stat(background, top+"/none", nil)
		fails[modal.SandboxFilesystemNotFoundError](err)
		_, err = files.ReadText(background, top+"/sub", nil)
		fails[modal.SandboxFilesystemIsADirectoryError](err)
		err = files.WriteText(background, "words", top+"/sub", nil)
		fails[modal.SandboxFilesystemIsADirectoryError](err)
		// The tool ends before it has read all of this, and the client must see why.
		err = files.WriteBytes(background, noise(5<<20), top+"/sub/file/below", nil)
		fails[modal.SandboxFilesystemNotADirectoryError](err)
		_, err = files.ListFiles(background, top+"/sub/file", nil)
		fails[modal.SandboxFilesystemNotADirectoryError](err)
		err = files.Remove(background, top+"/sub", nil)
		fails[modal.SandboxFilesystemDirectoryNotEmptyError](err)
		alone := false
		params := &modal.SandboxFilesystemMakeDirectoryParams{CreateParents: &alone}
		err = files.MakeDirectory(background, top+"/sub", params)
		fails[modal.SandboxFilesystemPathAlreadyExistsError](err)
	}},
	{"changes are watched", func(p *place) {
		sandbox := p.sandbox()
		files, top := fresh(sandbox)
		// It is not said when a watch has begun: files are made until one is seen.
		maker := sandbox.exec(nil, "sh", "-c",
			fmt.Sprintf("while mktemp %s/XXXXXX; do sleep 0.1; done", top))
		watch, err := files.Watch(background, top, &modal.SandboxFilesystemWatchParams{
			Filter: []modal.FileWatchEventType{modal.FileWatchEventTypeCreate}, Recursive: true,
		})
		must(err)
		for change, err := range watch {
			must(err)
			equal(change.EventType, modal.FileWatchEventTypeCreate)
			equal(strings.HasPrefix(change.Paths[0], top+"/"), true)
			break
		}
		sandbox.run("rm -r " + top)
		equal(wait(maker), 0)
	}},
	{"a watch ends with its timeout", func(p *place) {
		files, top := fresh(p.sandbox())
		second := time.Second
		watch, err := files.Watch(background, top, &modal.SandboxFilesystemWatchParams{Timeout: &second})
		must(err)
		for change, err := range watch {
			must(err)
			panic(change)
		}
	}},
}

// fresh makes a directory of the case's own.
func fresh(sandbox *standin) (*modal.SandboxFilesystem, string) {
	return sandbox.Filesystem, strings.TrimSpace(sandbox.run("mktemp -d"))
}
