// What gopkg.in/yaml.v2, which the reference rate limit service reads its files with, makes of a file, with the fields and the
// checks of that service. Frames on stdin: a length (4 bytes, little-endian) and a file. Answers on stdout: a length and JSON,
// either the error or the fields. The first answer is the version.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"gopkg.in/yaml.v2"
)

type replaced struct {
	Name string
}

type limit struct {
	RequestsPerUnit uint32 `yaml:"requests_per_unit"`
	Unit            string
	Unlimited       bool
	Name            string
	Replaces        []replaced
}

type descriptor struct {
	Key            string
	Value          string
	RateLimit      *limit `yaml:"rate_limit"`
	Descriptors    []descriptor
	ShadowMode     bool                   `yaml:"shadow_mode"`
	QuotaMode      bool                   `yaml:"quota_mode"`
	DetailedMetric bool                   `yaml:"detailed_metric"`
	ValueToMetric  bool                   `yaml:"value_to_metric"`
	ShareThreshold bool                   `yaml:"share_threshold"`
	Metadata       map[string]interface{} `json:"-"`
}

type file struct {
	Domain      string
	Descriptors []descriptor
}

var keys = map[string]bool{}

func init() {
	for _, key := range strings.Fields("domain key value descriptors rate_limit unit requests_per_unit unlimited shadow_mode " +
		"quota_mode name replaces detailed_metric value_to_metric share_threshold metadata") {
		keys[key] = true
	}
}

func checkKeys(mapping map[interface{}]interface{}) error {
	for key, value := range mapping {
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("config error, key is not of type string: %v", key)
		}
		if !keys[name] {
			return fmt.Errorf("config error, unknown key '%s'", name)
		}
		if name == "metadata" {
			continue
		}
		switch value := value.(type) {
		case []interface{}:
			for _, item := range value {
				inner, ok := item.(map[interface{}]interface{})
				if !ok {
					return fmt.Errorf("config error, yaml file contains list of type other than map: %v", item)
				}
				if err := checkKeys(inner); err != nil {
					return err
				}
			}
		case map[interface{}]interface{}:
			if err := checkKeys(value); err != nil {
				return err
			}
		case string, int, bool, nil:
		default:
			return fmt.Errorf("error checking config")
		}
	}
	return nil
}

func read(text []byte) (*file, error) {
	root := map[interface{}]interface{}{}
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("error loading config file: %s", err)
	}
	if err := checkKeys(root); err != nil {
		return nil, err
	}
	var typed file
	if err := yaml.Unmarshal(text, &typed); err != nil {
		return nil, fmt.Errorf("error loading config file: %s", err)
	}
	return &typed, nil
}

func main() {
	in := bufio.NewReader(os.Stdin)
	send := func(text []byte) {
		size := make([]byte, 4)
		binary.LittleEndian.PutUint32(size, uint32(len(text)))
		os.Stdout.Write(append(size, text...))
	}
	send([]byte("yaml.v2 v2.4.0, Go " + strings.TrimPrefix(runtime.Version(), "go")))
	size := make([]byte, 4)
	for {
		if _, err := io.ReadFull(in, size); err != nil {
			return
		}
		text := make([]byte, binary.LittleEndian.Uint32(size))
		if _, err := io.ReadFull(in, text); err != nil {
			return
		}
		typed, err := read(text)
		answer := map[string]interface{}{"file": typed}
		if err != nil {
			answer = map[string]interface{}{"error": err.Error()}
		}
		encoded, err := json.Marshal(answer)
		if err != nil {
			encoded = []byte(`{"error":"` + err.Error() + `"}`)
		}
		send(encoded)
	}
}
