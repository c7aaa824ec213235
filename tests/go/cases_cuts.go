package main

// The connection breaks every few hundred KiB: the client resumes by offset and nothing is lost.

import (
	"bytes"
	"strings"
)

var cutsCases = []testCase{
	{"reads resume", func(p *place) {
		process := p.sandbox().exec(nil, "sh", "-c", "yes 0123456 | head -c 8000000")
		same([]byte(all(process.Stdout)), bytes.Repeat([]byte("0123456\n"), 1_000_000))
		equal(wait(process), 0)
	}},
	{"writes are retried", func(p *place) {
		process := p.sandbox().exec(nil, "sha256sum")
		data := noise(4_000_000)
		for at := 0; at < len(data); at += 100_000 {
			_, err := process.Stdin.Write(data[at : at+100_000])
			must(err)
		}
		must(process.Stdin.Close())
		equal(strings.Fields(all(process.Stdout))[0], sha256of(data))
	}},
	{"files are written and read", func(p *place) {
		sandbox := p.sandbox()
		path := strings.TrimSpace(sandbox.run("mktemp"))
		// The client gives up after nine resumes, which bounds what can pass through this proxy.
		data := noise(3_000_000)
		must(sandbox.Filesystem.WriteBytes(background, data, path, nil))
		read, err := sandbox.Filesystem.ReadBytes(background, path, nil)
		must(err)
		same(read, data)
		must(sandbox.Filesystem.Remove(background, path, nil))
	}},
}
