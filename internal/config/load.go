package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

const envPrefix = "SECUREMAIL_"

// maxSecretFile is far above any password. A larger file means a wrong path.
const maxSecretFile = 64 << 10

// Load reads the settings. path names the file and may be empty, environ is os.Environ(), and flags
// holds the settings of the command line, by name. The error has a line for each invalid setting,
// and holds no secret.
func Load(need Need, path string, environ []string, flags map[string]string) (Config, error) {
	names := settings(reflect.TypeFor[Config](), "")
	k := koanf.New(".")
	var errs []error
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			// No other error is of use: missing settings may be in this file.
			return Config{}, fileError(path, err)
		}
		for _, name := range k.MapKeys("relays") {
			maps.Copy(names, settings(reflect.TypeFor[SMTP](), "relays."+name+"."))
		}
		for _, key := range k.Keys() {
			if _, known := names[key]; !known && !(k.Get(key) == nil && isSection(key, names)) {
				errs = append(errs, fmt.Errorf("%s: %s: no setting has this name; deploy/config.example.yaml lists them", path, key))
			}
		}
	}
	env, unknown := fromEnviron(environ, names)
	errs = append(errs, unknown...)
	for _, layer := range []map[string]any{env, asAny(flags)} {
		// A secret in one form overrides the other form of a layer below. Both forms in one layer
		// are a contradiction.
		for key := range layer {
			if other := otherForm(key, names); other != "" {
				if _, both := layer[other]; !both {
					k.Delete(other)
				}
			}
		}
		if err := k.Load(confmap.Provider(layer, "."), nil); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, readSecretFiles(k, names, need)...)

	c := defaults()
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		WeaklyTypedInput: true,
		TagName:          "koanf",
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(),
			toText),
	}})
	if err != nil {
		errs = append(errs, typeErrors(err)...)
	}
	errs = append(errs, c.complete(need))
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

var yamlLine = regexp.MustCompile(`line [0-9]+`)

// fileError says which line of the file is invalid. It drops the text of the YAML library, which
// can quote a secret.
func fileError(path string, err error) error {
	if errors.As(err, new(*fs.PathError)) {
		return fmt.Errorf("settings file: %w", err)
	}
	where := yamlLine.FindString(err.Error())
	if where == "" {
		where = "unknown line"
	}
	return fmt.Errorf("%s: %s: not YAML of the form name: value, or a name is repeated; "+
		"put values with special characters in quotes", path, where)
}

// isSection reports whether key is the name of a section. All its settings may be commented out in
// the file.
func isSection(key string, names map[string]bool) bool {
	if key == "relays" {
		return true
	}
	for name := range names {
		if strings.HasPrefix(name, key+".") {
			return true
		}
	}
	return false
}

// toText refuses numbers and dates where a setting is a text: without quotes, YAML reads the
// password 0123 as 83.
func toText(from, to reflect.Type, value any) (any, error) {
	isSecret := to == reflect.TypeFor[secret.String]()
	text, isText := value.(string)
	switch {
	case to.Kind() != reflect.String && !isSecret:
		return value, nil
	case !isText:
		return nil, errors.New("not a text")
	case isSecret:
		return secret.New(text), nil
	}
	return value, nil
}

// settings returns the names of all settings below t. The value says whether the setting is a
// secret.
func settings(t reflect.Type, prefix string) map[string]bool {
	names := map[string]bool{}
	for field := range t.Fields() {
		name := prefix + field.Tag.Get("koanf")
		switch {
		case field.Type == reflect.TypeFor[secret.String]():
			names[name] = true
			names[name+"_file"] = false
		case field.Type.Kind() == reflect.Struct:
			for inner, isSecret := range settings(field.Type, name+".") {
				names[inner] = isSecret
			}
		case field.Type == reflect.TypeFor[tasks.Lives]():
			for _, kind := range tasks.Kinds() {
				names[name+"."+string(kind.Kind)] = false
			}
		case field.Type.Kind() == reflect.Map: // relays: the file chooses the names
		default:
			names[name] = false
		}
	}
	return names
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func fromEnviron(environ []string, names map[string]bool) (map[string]any, []error) {
	byEnv := map[string]string{}
	for key := range names {
		byEnv[envName(key)] = key
	}
	values := map[string]any{}
	var errs []error
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		// An empty value means not set: a compose file passes on an unset variable in this way.
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		key, known := byEnv[name]
		if !known {
			errs = append(errs, fmt.Errorf("%s: no setting has this name; deploy/config.example.yaml lists them", name))
			continue
		}
		values[key] = value
	}
	return values, errs
}

func asAny(flags map[string]string) map[string]any {
	values := map[string]any{}
	for key, value := range flags {
		values[key] = value
	}
	return values
}

// otherForm returns x_file for the secret x, and x for x_file.
func otherForm(key string, names map[string]bool) string {
	if names[key] {
		return key + "_file"
	}
	if base, isFile := strings.CutSuffix(key, "_file"); isFile && names[base] {
		return base
	}
	return ""
}

// readSecretFiles replaces the names of files by their contents, without a line end at the end,
// which is an editor's. A producer reads only the URL of Redis, because it may not be allowed to
// read the password of a relay.
func readSecretFiles(k *koanf.Koanf, names map[string]bool, need Need) (errs []error) {
	for _, key := range k.Keys() {
		base, isFile := strings.CutSuffix(key, "_file")
		if !isFile || !names[base] {
			continue
		}
		path := k.String(key)
		k.Delete(key)
		switch {
		case path == "" || need == Producer && base != "redis.url":
			continue
		case k.String(base) != "":
			errs = append(errs, fmt.Errorf("%s and %s: set one of them, not both", base, key))
			continue
		}
		content, err := os.ReadFile(path)
		text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
		if err == nil && (len(text) > maxSecretFile || text == "") {
			err = fmt.Errorf("%s is empty, or too large for a secret", path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s (%s): %w", key, envName(key), err))
			continue
		}
		if err := k.Set(base, text); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// inMaps turns a name such as relays[first].port, which the library uses, into that of the setting.
var inMaps = strings.NewReplacer("[", ".", "]", "")

// typeErrors names the settings whose values have the wrong type. It drops the library's texts,
// which quote a value, because that may be a secret.
func typeErrors(err error) []error {
	var errs []error
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, err := range joined.Unwrap() {
			errs = append(errs, typeErrors(err)...)
		}
		return errs
	}
	var decode *mapstructure.DecodeError
	if errors.As(err, &decode) {
		return []error{fmt.Errorf("%s: the value has the wrong type; write a duration like 10m, a number without quotes, a text that looks like a number in quotes", inMaps.Replace(decode.Name()))}
	}
	return []error{errors.New("a setting has a value of the wrong type")}
}
