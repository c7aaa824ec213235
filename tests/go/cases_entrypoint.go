package main

// The sandbox's own streams: the container's main command, read and written over the newer calls.

import "time"

var entrypointCases = []testCase{
	{"ready, write and read", func(p *place) {
		sandbox := p.sandbox()
		must(sandbox.WaitUntilReady(background, 20*time.Second, nil))
		feed(sandbox.Stdin, []byte("one\ntwo\n"))
		equal(all(sandbox.Stdout), "begin\none\ntwo\nend\n")
		equal(all(sandbox.Stderr), "words\n")
	}},
}
