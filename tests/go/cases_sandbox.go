package main

// Sandbox.Exec and what it returns: start, read, write, wait, timeouts, PTY.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
)

var sandboxCases = []testCase{
	{"run, read, wait", func(p *place) {
		process := p.sandbox().exec(nil, "sh", "-c", "echo out; echo err >&2; exit 3")
		equal(all(process.Stdout), "out\n")
		equal(all(process.Stderr), "err\n")
		equal(wait(process), 3)
		equal(wait(process), 3)
	}},
	{"read after the exit", func(p *place) {
		process := p.sandbox().exec(nil, "sh", "-c", "seq 1000; kill -9 $$")
		equal(wait(process), 137)
		lines := strings.Fields(all(process.Stdout))
		equal(len(lines), 1000)
		equal(lines[999], "1000")
	}},
	{"lines as they come", func(p *place) {
		process := p.sandbox().exec(nil, "sh", "-c", "while read l; do echo got $l; done")
		lines := bufio.NewReader(process.Stdout)
		for _, word := range []string{"one", "two", "three"} {
			_, err := io.WriteString(process.Stdin, word+"\n")
			must(err)
			line, err := lines.ReadString('\n')
			must(err)
			equal(line, "got "+word+"\n")
		}
		must(process.Stdin.Close())
		equal(wait(process), 0)
	}},
	{"environment, directory, and what is ignored", func(p *place) {
		sandbox := p.sandbox()
		secret, err := sandbox.client.Secrets.FromMap(background, map[string]string{"A": "0", "C": "3"}, nil)
		must(err)
		process := sandbox.exec(&modal.SandboxExecParams{
			Env:     map[string]string{"A": "1", "B": "two words"},
			Secrets: []*modal.Secret{secret},
			Workdir: "/usr",
			Stderr:  modal.Ignore,
		}, "sh", "-c", "echo $A,$B,$C; pwd; echo lost >&2")
		equal(all(process.Stdout), "1,two words,3\n/usr\n")
		equal(all(process.Stderr), "")
		equal(wait(process), 0)
	}},
	{"binary is exact", func(p *place) {
		process := p.sandbox().exec(nil, "cat")
		data := noise(3_000_000)
		feed(process.Stdin, data)
		same([]byte(all(process.Stdout)), data)
		equal(wait(process), 0)
	}},
	{"one large message", func(p *place) {
		process := p.sandbox().exec(nil, "sha256sum")
		// The client sends as one message what it is given as one, up to 100 MiB.
		data := noise(99 << 20)
		feed(process.Stdin, data)
		equal(strings.Fields(all(process.Stdout))[0], sha256of(data))
	}},
	{"a timeout kills", func(p *place) {
		begun := time.Now()
		params := &modal.SandboxExecParams{Timeout: time.Second}
		process := p.sandbox().exec(params, "sh", "-c", "echo hi; sleep 999")
		line, err := bufio.NewReader(process.Stdout).ReadString('\n')
		must(err)
		equal(line, "hi\n")
		equal(wait(process), 137)
		equal(time.Since(begun) < 8*time.Second, true)
	}},
	{"a terminal", func(p *place) {
		script := "test -t 0 && stty size; echo $TERM $COLORTERM; echo err >&2"
		process := p.sandbox().exec(&modal.SandboxExecParams{PTY: true}, "sh", "-c", script)
		equal(all(process.Stdout), "24 80\r\nxterm-256color truecolor\r\nerr\r\n")
		equal(all(process.Stderr), "")
		equal(wait(process), 0)
	}},
	{"what is typed on a terminal", func(p *place) {
		params := &modal.SandboxExecParams{PTY: true}
		process := p.sandbox().exec(params, "sh", "-c", "echo ready; cat; echo end")
		screen := bufio.NewReader(process.Stdout)
		line, err := screen.ReadString('\n')
		must(err)
		equal(line, "ready\r\n")
		for _, key := range []string{"a", "b", "\r", "\x04"} {
			_, err := io.WriteString(process.Stdin, key)
			must(err)
		}
		equal(all(screen), "ab\r\nab\r\nend\r\n")
		equal(wait(process), 0)
	}},
	{"errors are not retried", func(p *place) {
		sandbox := p.sandbox()
		begun := time.Now()
		missing := "no-such-program-anywhere"
		_, err := sandbox.Exec(background, []string{missing}, nil)
		refuses(codes.FailedPrecondition, err, missing)
		params := &modal.SandboxExecParams{Workdir: "/no/such/place"}
		_, err = sandbox.Exec(background, []string{"true"}, params)
		refuses(codes.FailedPrecondition, err, params.Workdir)
		equal(time.Since(begun) < 5*time.Second, true)
	}},
	{"fifty at once on one connection", fiftyAtOnce},
	{"readers that turn away", func(p *place) {
		sandbox := p.sandbox()
		for range 100 {
			other := sandbox.exec(nil, "sh", "-c", "echo words; exec cat")
			_, err := bufio.NewReader(other.Stdout).ReadString('\n')
			must(err)
			// It resets its stream, and none of that may cost the connection.
			must(other.Stdout.Close())
		}
		equal(sandbox.run("echo words"), "words\n")
		equal(sandbox.logs.retries.Load(), 0)
	}},
	{"much is not lost while nobody reads", func(p *place) {
		process := p.sandbox().exec(nil, "sh", "-c", "yes 0123456 | head -c 50000000")
		equal(wait(process), 0)
		same([]byte(all(process.Stdout)), bytes.Repeat([]byte("0123456\n"), 50_000_000/8))
	}},
	{"an idle connection is given up and made again", func(p *place) {
		const variable = "MODAL_SANDBOX_CHANNEL_IDLE_TIMEOUT"
		must(os.Setenv(variable, "0.1"))
		sandbox := p.sandbox()
		must(os.Unsetenv(variable))
		process := sandbox.exec(nil, "sh", "-c", "echo begin; cat")
		output := bufio.NewReader(process.Stdout)
		line, err := output.ReadString('\n')
		must(err)
		equal(line, "begin\n")
		<-sandbox.logs.released
		feed(process.Stdin, []byte("words\n"))
		<-sandbox.logs.released
		equal(all(output), "words\n")
		equal(wait(process), 0)
	}},
}

func fiftyAtOnce(p *place) {
	sandbox := p.sandbox()
	var together sync.WaitGroup
	for n := range 50 {
		process := sandbox.exec(nil, "sh", "-c", fmt.Sprintf("read x; echo %d $x", n))
		together.Go(func() {
			equal(all(process.Stdout), fmt.Sprintf("%d %d\n", n, n*n))
			equal(all(process.Stderr), "")
		})
		together.Go(func() { equal(wait(process), 0) })
		together.Go(func() { feed(process.Stdin, fmt.Appendln(nil, n*n)) })
	}
	together.Wait()
}
