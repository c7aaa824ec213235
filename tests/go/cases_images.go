package main

// Sandbox.SnapshotDirectory, SnapshotFilesystem, MountImage and UnmountImage.

import (
	"fmt"
	"os"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
)

var imagesCases = []testCase{
	{"a snapshot is mounted and unmounted", func(p *place) {
		sandbox := p.sandbox()
		top := tree(sandbox)
		image := snapshot(sandbox, top+"/tree", nil)
		equal(strings.HasPrefix(image.ImageID, "im-"), true)
		sandbox.run(fmt.Sprintf("mkdir %s/work; echo hidden >%[1]s/work/hidden", top))
		must(sandbox.MountImage(background, top+"/work", image, nil))
		equal(sandbox.run(fmt.Sprintf("cat %s/work/deep/file; ls %[1]s/work", top)), "words\ndeep\n")
		sandbox.run(fmt.Sprintf("echo more >%s/work/more", top))
		params := &modal.SandboxSnapshotDirectoryParams{TTL: modal.NoExpiryTTL}
		second := snapshot(sandbox, top+"/work", params)
		must(sandbox.MountImage(background, top+"/new/place", second, nil))
		equal(sandbox.run(fmt.Sprintf("cat %s/new/place/more", top)), "more\n")
		must(sandbox.UnmountImage(background, top+"/new/place", nil))
		must(sandbox.UnmountImage(background, top+"/work", nil))
		equal(sandbox.run(fmt.Sprintf("ls %s/work", top)), "hidden\n")
	}},
	{"nothing is an empty directory", func(p *place) {
		sandbox := p.sandbox()
		top := tree(sandbox)
		must(sandbox.MountImage(background, top+"/tree", nil, nil))
		equal(sandbox.run(fmt.Sprintf("ls -A %s/tree", top)), "")
		must(sandbox.UnmountImage(background, top+"/tree", nil))
		equal(sandbox.run(fmt.Sprintf("ls %s/tree", top)), "deep\n")
	}},
	{"a key", func(p *place) {
		sandbox := p.sandbox()
		top := tree(sandbox)
		key := []byte("sixteen bytes ok")
		params := &modal.SandboxSnapshotDirectoryParams{ExperimentalEncryptionKey: key}
		image := snapshot(sandbox, top+"/tree", params)
		refuses(codes.InvalidArgument, sandbox.MountImage(background, top+"/work", image, nil), "")
		with := &modal.SandboxMountImageParams{ExperimentalEncryptionKey: key}
		must(sandbox.MountImage(background, top+"/work", image, with))
		equal(sandbox.run(fmt.Sprintf("cat %s/work/deep/file", top)), "words\n")
		must(sandbox.UnmountImage(background, top+"/work", nil))
	}},
	{"the whole file system", func(p *place) {
		sandbox := p.sandbox()
		params := &modal.SandboxSnapshotFilesystemParams{Timeout: 500 * time.Second, TTL: time.Hour}
		// What the agent has to say about its answer reaches the user.
		sandbox.logs.expected = append(sandbox.logs.expected, "left out")
		image, err := sandbox.SnapshotFilesystem(background, params)
		must(err)
		equal(sandbox.logs.warnings.Load() > 1, true)
		top := tree(sandbox)
		must(sandbox.MountImage(background, top+"/root", image, nil))
		equal(sandbox.run(fmt.Sprintf("cat %s/root/etc/marked", top)), "marked\n")
		must(sandbox.UnmountImage(background, top+"/root", nil))
	}},
	{"errors are not retried", func(p *place) {
		sandbox := p.sandbox()
		top := tree(sandbox)
		image := snapshot(sandbox, top+"/tree", nil)
		begun := time.Now()
		refuses(codes.FailedPrecondition, sandbox.UnmountImage(background, top+"/tree", nil), "")
		_, err := sandbox.SnapshotDirectory(background, top+"/missing", nil)
		refuses(codes.NotFound, err, "")
		refuses(codes.InvalidArgument, sandbox.MountImage(background, "/", image, nil), "")
		unknown := &modal.Image{ImageID: "im-unknown"}
		refuses(codes.NotFound, sandbox.MountImage(background, top+"/tree", unknown, nil), "")
		equal(time.Since(begun) < 5*time.Second, true)
	}},
}

// tree makes a directory of the case's own with a tree in it.
func tree(sandbox *standin) string {
	script := "t=$(mktemp -d %s/XXXXXX); mkdir -p $t/tree/deep; echo words >$t/tree/deep/file; echo $t"
	return strings.TrimSpace(sandbox.run(fmt.Sprintf(script, os.Getenv("DOORWARD_PLACE"))))
}

func snapshot(sandbox *standin, path string, params *modal.SandboxSnapshotDirectoryParams) *modal.Image {
	image, err := sandbox.SnapshotDirectory(background, path, params)
	must(err)
	return image
}
