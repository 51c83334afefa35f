package images

// Arguments and results of what is asked of registries about manifests.
type (
	ManifestArgs struct {
		Reference string
		Insecure  bool
		// Config: read the platform of a manifest that is no list from its configuration.
		Config bool
	}
	// Manifest is a manifest or list as a registry has it.
	Manifest struct {
		Reference string // normalized
		MediaType string
		Digest    string
		Raw       []byte
		List      bool
		Platform  Platform
	}
	Platform struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		OSVersion    string   `json:"os.version,omitempty"`
		OSFeatures   []string `json:"os.features,omitempty"`
		Variant      string   `json:"variant,omitempty"`
	}

	// ManifestPushArgs: the list is stored under Reference when the registry has all
	// that it names; what it has not comes from Sources, one for each entry.
	ManifestPushArgs struct {
		Reference, MediaType string
		Raw                  []byte
		Sources              []string // repo@digest
		Insecure             bool
	}
	ManifestPushResult struct{ Digest string }

	SearchArgs struct {
		Term  string
		Limit int
	}
	SearchResult struct{ Found []Found }
	Found        struct {
		Name, Description string
		Stars             int
		Official          bool
		Automated         bool
	}
)
