// Drives github.com/featbit/featbit-go-sdk by the commands of ../README.md.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

const (
	sdkModule = "github.com/featbit/featbit-go-sdk"
	// How often a wait looks at the SDK's own state. A condition is polled, nothing sleeps blindly.
	lookEvery = 10 * time.Millisecond
	lineBytes = 64 << 20
)

// A command, with the arguments of all commands.
type command struct {
	ID        *int64          `json:"id"`
	Cmd       string          `json:"cmd"`
	Mode      string          `json:"mode"`
	URL       string          `json:"url"`
	EventsURL string          `json:"eventsUrl"`
	Secret    string          `json:"secret"`
	Events    bool            `json:"events"`
	TimeoutMs int64           `json:"timeoutMs"`
	Key       string          `json:"key"`
	Keys      []string        `json:"keys"`
	User      user            `json:"user"`
	Type      string          `json:"type"`
	Default   json.RawMessage `json:"default"`
	Value     json.RawMessage `json:"value"`
	Record    bool            `json:"record"`
	Event     string          `json:"event"`
	Ready     *bool           `json:"ready"`
	Connected *bool           `json:"connected"`
	Stopped   *bool           `json:"stopped"`
	Connects  *int            `json:"connects"`
	Posts     *int            `json:"posts"`
}

type user struct {
	KeyID                string `json:"keyId"`
	Name                 string `json:"name"`
	CustomizedProperties []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"customizedProperties"`
}

type answer map[string]interface{}

// until looks until look gives true or the time is over, and returns what was seen last.
func until(timeoutMs int64, look func() (bool, answer)) (bool, answer) {
	end := time.Now().Add(time.Duration(timeoutMs) * time.Millisecond)
	for {
		met, seen := look()
		if met || !time.Now().Before(end) {
			return met, seen
		}
		time.Sleep(lookEvery)
	}
}

// sameJSON says whether two JSON texts mean the same: 1 and 1.0 do.
func sameJSON(left, right json.RawMessage) bool {
	var leftValue, rightValue interface{}
	if json.Unmarshal(left, &leftValue) != nil || json.Unmarshal(right, &rightValue) != nil {
		return false
	}
	return reflect.DeepEqual(leftValue, rightValue)
}

func (d *driver) run(c *command) (answer, error) {
	switch c.Cmd {
	case "start":
		return nil, d.start(c)
	case "wait-ready":
		ready, _ := until(c.TimeoutMs, func() (bool, answer) { return d.ready(), nil })
		return answer{"ready": ready}, nil
	case "variation":
		return d.variation(c)
	case "all":
		return d.all(c)
	case "wait-value":
		var failure error
		matched, seen := until(c.TimeoutMs, func() (bool, answer) {
			seen, err := d.variation(c)
			if failure = err; err != nil {
				return true, nil
			}
			return sameJSON(seen["value"].(json.RawMessage), c.Value), seen
		})
		if failure != nil {
			return nil, failure
		}
		seen["matched"] = matched
		return seen, nil
	case "track":
		return nil, d.track(c)
	case "flush":
		return answer{"flushed": true}, d.client.Flush()
	case "updates":
		return nil, fmt.Errorf("this SDK does not report changes")
	case "state":
		return d.state(), nil
	case "wait-state":
		matched, seen := until(c.TimeoutMs, func() (bool, answer) {
			now := d.state()
			return c.metBy(now), now
		})
		seen["matched"] = matched
		return seen, nil
	case "stop":
		return nil, d.stop()
	}
	return nil, fmt.Errorf("unknown command: %s", c.Cmd)
}

// metBy says whether a state has what is wanted: flags equal, counters (and the number of posts) at least that high.
func (c *command) metBy(now answer) bool {
	return (c.Ready == nil || now["ready"] == *c.Ready) &&
		(c.Connected == nil || now["connected"] == *c.Connected) &&
		(c.Stopped == nil || now["stopped"] == *c.Stopped) &&
		(c.Connects == nil || now["connects"].(int) >= *c.Connects) &&
		(c.Posts == nil || len(now["posts"].([]int)) >= *c.Posts)
}

func sdkVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == sdkModule {
				return strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return "unknown"
}

func main() {
	answers := json.NewEncoder(os.Stdout)
	// The SDK logs to standard output, which belongs to the answers alone.
	errors := newErrorLines()
	os.Stdout = errors.input
	_ = answers.Encode(answer{"ready": true, "sdk": "go-server", "version": sdkVersion()})
	d := &driver{errors: errors}
	lines := bufio.NewReaderSize(os.Stdin, 1<<16)
	for {
		line, err := readLine(lines)
		if err != nil {
			break
		}
		var c command
		var result answer
		if err = json.Unmarshal(line, &c); err == nil {
			result, err = d.run(&c)
		}
		if err != nil {
			result = answer{"ok": false, "error": err.Error()}
		} else {
			if result == nil {
				result = answer{}
			}
			result["ok"] = true
		}
		result["id"] = c.ID
		_ = answers.Encode(result)
	}
	_ = d.stop()
}

func readLine(lines *bufio.Reader) ([]byte, error) {
	line, err := lines.ReadBytes('\n')
	if len(line) > lineBytes {
		return nil, io.ErrShortBuffer
	}
	if len(line) > 0 {
		return line, nil
	}
	return nil, err
}
