package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/featbit/featbit-go-sdk/interfaces"
	"github.com/gorilla/websocket"
)

const linesKept = 20

// errorLines reads what the SDK logs, and keeps its last warnings and errors.
type errorLines struct {
	input *os.File
	lock  sync.Mutex
	lines []string
}

func newErrorLines() *errorLines {
	output, input, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	e := &errorLines{input: input}
	go func() {
		lines := bufio.NewScanner(output)
		lines.Buffer(nil, lineBytes)
		for lines.Scan() {
			e.add(lines.Text())
		}
	}()
	return e
}

func (e *errorLines) add(line string) {
	if !strings.HasPrefix(line, "[ERROR]") && !strings.HasPrefix(line, "[WARNING]") {
		return
	}
	e.lock.Lock()
	defer e.lock.Unlock()
	e.lines = append(e.lines, line)
	if len(e.lines) > linesKept {
		e.lines = e.lines[1:]
	}
}

func (e *errorLines) last() []string {
	e.lock.Lock()
	defer e.lock.Unlock()
	return append([]string{}, e.lines...)
}

func (e *errorLines) forget() {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.lines = nil
}

// watchedNetwork is the SDK's own network, of which it counts the connections and the answers: the SDK tells nobody.
type watchedNetwork struct {
	builder  interfaces.NetworkFactory
	lock     sync.Mutex
	opened   int
	open     int
	statuses []int
}

func (w *watchedNetwork) CreateNetwork(config interfaces.BasicConfig) (interfaces.Network, error) {
	inner, err := w.builder.CreateNetwork(config)
	if err != nil {
		return nil, err
	}
	return &watchedClients{inner, w}, nil
}

func (w *watchedNetwork) connects() (int, bool) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.opened, w.open > 0
}

func (w *watchedNetwork) posts() []int {
	w.lock.Lock()
	defer w.lock.Unlock()
	return append([]int{}, w.statuses...)
}

type watchedClients struct {
	interfaces.Network
	watcher *watchedNetwork
}

func (w *watchedClients) GetWebsocketClient() interfaces.NetworkClient {
	dialer := *w.Network.GetWebsocketClient().(*websocket.Dialer)
	dial := dialer.NetDialContext
	dialer.NetDialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w.watcher.lock.Lock()
		defer w.watcher.lock.Unlock()
		w.watcher.opened++
		w.watcher.open++
		return &watchedConn{Conn: conn, watcher: w.watcher}, nil
	}
	return &dialer
}

func (w *watchedClients) GetHTTPClient() interfaces.NetworkClient {
	client := *w.Network.GetHTTPClient().(*http.Client)
	transport := client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	client.Transport = watchedTransport{transport, w.watcher}
	return &client
}

type watchedTransport struct {
	http.RoundTripper
	watcher *watchedNetwork
}

func (w watchedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(request)
	if err == nil && strings.HasSuffix(request.URL.Path, "/insight/track") {
		w.watcher.lock.Lock()
		defer w.watcher.lock.Unlock()
		w.watcher.statuses = append(w.watcher.statuses, response.StatusCode)
	}
	return response, err
}

// watchedConn is open until it was closed or could not be read from.
type watchedConn struct {
	net.Conn
	watcher *watchedNetwork
	once    sync.Once
}

func (w *watchedConn) over() {
	w.once.Do(func() {
		w.watcher.lock.Lock()
		defer w.watcher.lock.Unlock()
		w.watcher.open--
	})
}

func (w *watchedConn) Read(bytes []byte) (int, error) {
	count, err := w.Conn.Read(bytes)
	if err != nil {
		w.over()
	}
	return count, err
}

func (w *watchedConn) Close() error {
	w.over()
	return w.Conn.Close()
}
