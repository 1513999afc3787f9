"""Every limit of the responder, in one place.  A request beyond one of them gets an error, never
a slow response."""

REQUEST_BYTES = 64 * 1024
# Read and thrown away beyond that, so that Apache can finish sending it.
DRAINED_BYTES = 1024 * 1024
CERT_IDS = 100  # in one request
# Of an OBJECT IDENTIFIER; those in use have about ten, and other readers end here too.
OID_BYTES = 63
MAPPED_AT_ONCE_BYTES = 256 * 1024  # of an index, whose map is made within a request
# Of an index, of about 100 000 rows: in a longer one a CGI looks serial numbers up with a map.
SEARCHED_BYTES = 8 * 1000 * 1000
SYNC_MAP_SECONDS = 60  # in which `sync` has written the map of an index that it has copied
MAP_RETRY_SECONDS = 10  # after the map of an index could not be written
MAPPED_OTHER_LINES = 32  # of an index with a map, which each search in it reads
LOGGED_CERT_IDS = 10  # of one request
LOGGED_METHOD_CHARACTERS = 40
LOG_LINE_CHARACTERS = 4000  # Linux writes 4096 bytes to a pipe in one piece
NONCE_BYTES = range(1, 128 + 1)  # RFC 9654 section 2.1
DEADLINE_SECONDS = 10  # for a whole response (BR 4.10.2), from the start of the process
# `openssl ca` renames the index in two steps: between them there is none.
DATABASE_RETRY_SECONDS = 0.5
DATABASE_SETTLING_SECONDS = 2  # an index written in place so lately may be a mixture of old and new
DATABASE_WAIT_SECONDS = 6  # for it to settle; leaves time to sign before the deadline
HEARTBEAT_AHEAD_SECONDS = 5 * 60  # a heartbeat further in the future says nothing
SIGNED_AHEAD_SECONDS = 5 * 60  # by which the clock of the host that signs may be ahead
# A response `unknown` must not outlive the certificate's issuance by more.
UNKNOWN_LIFETIME_SECONDS = 15 * 60
UNKNOWN_MAX_AGE_SECONDS = 5 * 60
# RFC 9919 section 7.2 leaves it open; Microsoft and the BR ask for no more.
MAX_AGE_SECONDS = 4 * 24 * 60 * 60
CACHED_CERT_ID_BYTES = 180  # whose base64 is still a file name
CACHED_BYTES = 64 * 1024  # of the file of a cached response; a real one has two thousand
CACHE_MEBIBYTES = 256  # of a directory `cache`, unless `cache_size` says otherwise
BUCKET_BYTES = 128 * 1024  # of the disk; about 30 responses, which each put looks at
BUCKETS = 16 * 1024  # directories in one; above that, buckets grow
UNFINISHED_SECONDS = 60  # a file of the cache is written in milliseconds
LEFTOVERS_REMOVED = 32  # files of another `cache_size`, with each put
# With less left to the deadline, signing is not begun: it takes 0.03 to 0.2 with every slot taken.
SIGNING_SECONDS = 0.25
# For a signature by a token: after two that hang there is still time to answer before the deadline.
TOKEN_SECONDS = 4
TOKEN_RETRY_SECONDS = 10  # after a token has hung, in a process that answers many requests
SLOT_PATIENCE_SECONDS = 1  # if no slot is released for so long, one more process signs
SLOT_POLL_SECONDS = 0.005
REFUSED_KEY_BITS = {"RSA": 1024, "DSA": 1024, "EC": 160}  # a shorter key is refused
EXPIRY_WARNING_DAYS = 30  # before the end of a certificate, or a third of its life if that is less
WEAK_KEY_BITS = {"RSA": 2048, "DSA": 2048, "EC": 224}  # a shorter one is warned of (SP 800-131A)
NEVER_ISSUED_PER_DAY = 10  # more requests about serials that no index has make `check` warn
ERROR_LOG_BYTES = 16 * 1024 * 1024  # of Apache's error log, from its end, which `check` reads
