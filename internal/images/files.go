package images

// Arguments and results of what is done with a container's files.
type (
	// CopyArgs are for both directions. Running: the container's root comes along as
	// TreeFile; else the role mounts it.
	CopyArgs struct {
		ID, Path string
		Running  bool
		Follow   bool   // out: a link at the end of Path is followed
		Bare     bool   // out: the archive alone
		Name     string // in: the top entry of the archive; empty: an archive of the user's, for a directory
		Dir      bool   // in: the top entry is a directory
		Archive  bool   // in: owners as the archive says, else root
	}
	// Copied is the first line of what OpCopyOut writes; an archive follows.
	Copied struct {
		Name string
		Dir  bool
	}

	ChangesArgs struct{ ID string }
	// ChangesResult is sorted by path.
	ChangesResult struct{ Changes []Change }
	Change        struct {
		Kind string // A, C or D
		Path string
	}

	ExportArgs struct {
		ID      string
		Running bool
	}

	CommitArgs struct {
		ID, Reference   string
		Author, Message string
		Changes         []string
	}
	CommitResult struct{ ID string }
)
