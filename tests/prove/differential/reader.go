// What Go's encoding/json decodes into structs, whose fields it finds without telling cases apart. The arguments: the names of all
// fields, with commas; the names of fields that hold structs again, with commas. Frames on stdin: a length (4 bytes, little-endian),
// the names of the fields whose values are looked into, with commas and a line feed, and a body. Answers on stdout: a length and one
// line for each field that was found: its path and its value in hex; or "!" and the error. The first answer is the version.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
)

var raw = reflect.TypeOf(json.RawMessage{})

// Tools have tools within them, and nothing else that is looked into.
var tools = map[string]bool{"tools": true}

type reader struct {
	names []string
	kind  reflect.Type
	out   strings.Builder
}

func newReader(names []string) *reader {
	fields := make([]reflect.StructField, len(names))
	for i, name := range names {
		tag := reflect.StructTag(fmt.Sprintf(`json:"%s"`, name))
		fields[i] = reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: raw, Tag: tag}
	}
	return &reader{names: names, kind: reflect.StructOf(fields)}
}

func (r *reader) look(value []byte, path string, into, nested map[string]bool) error {
	value = bytes.TrimSpace(value)
	if len(value) > 0 && value[0] == '[' {
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			return err
		}
		for i, item := range items {
			if err := r.look(item, fmt.Sprintf("%s%d.", path, i), into, nested); err != nil {
				return err
			}
		}
		return nil
	}
	if len(value) == 0 || value[0] != '{' {
		return nil
	}
	target := reflect.New(r.kind)
	if err := json.Unmarshal(value, target.Interface()); err != nil {
		return err
	}
	for i, name := range r.names {
		found := bytes.TrimSpace(target.Elem().Field(i).Bytes())
		if len(found) == 0 {
			continue
		}
		r.out.WriteString(path + name + " " + hex.EncodeToString(found) + "\n")
		if into[name] {
			within := nested
			if name == "tools" {
				within = tools
			}
			if err := r.look(found, path+name+".", within, nested); err != nil {
				return err
			}
		}
	}
	return nil
}

func setOf(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Split(names, ",") {
		set[name] = true
	}
	return set
}

func main() {
	in := bufio.NewReader(os.Stdin)
	send := func(text string) {
		size := make([]byte, 4)
		binary.LittleEndian.PutUint32(size, uint32(len(text)))
		os.Stdout.Write(append(size, text...))
	}
	send(strings.TrimPrefix(runtime.Version(), "go"))
	r := newReader(strings.Split(os.Args[1], ","))
	nested := setOf(os.Args[2])
	size := make([]byte, 4)
	for {
		if _, err := io.ReadFull(in, size); err != nil {
			return
		}
		frame := make([]byte, binary.LittleEndian.Uint32(size))
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		into, body, _ := bytes.Cut(frame, []byte("\n"))
		r.out.Reset()
		if err := r.look(body, "", setOf(string(into)), nested); err != nil {
			send("!" + err.Error())
		} else {
			send(r.out.String())
		}
	}
}
