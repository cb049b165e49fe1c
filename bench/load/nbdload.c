/*
 * nbdload - load generator for NBD servers: one thread and one blocking socket per connection, a fixed number of
 * requests in flight on each, simple replies. Bounded in time; prints one line of JSON.
 *
 *   nbdload -u SOCKET [-e EXPORT] -m read|write [-S] [-b BYTES] [-q DEPTH] [-c CONNECTIONS] [-t SECONDS] [-w WARMUP_SECONDS]
 *           [-o OFFSET] [-s RANGE_BYTES] [-f] [-V] [-F] [-r SEED]
 *
 *   -S  sequential instead of random offsets          -f  FUA on writes
 *   -V  check what reads give (after -F or -m write)   -F  first write the whole range, then flush
 *
 * Written content is a function of the offset and of the seed (-r), incompressible, so that every read can be checked at any time.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 256, MAX_CONNECTIONS = 64, REQUEST_BYTES = 28, REPLY_BYTES = 16, FILL_BYTES = 1 << 20, FILL_DEPTH = 8 };
enum { CMD_READ = 0, CMD_WRITE = 1, CMD_DISC = 2, CMD_FLUSH = 3, FLAG_FUA = 1 };
/* Histogram: 16 linear steps in each power of two of nanoseconds. */
enum { HIST_STEPS = 16, HIST_BUCKETS = 64 * HIST_STEPS };
#define RECEIVE_BYTES (512 << 10)
#define IO_TIMEOUT_SECONDS 30

static struct {
  const char *socket, *export_name;
  int write, sequential, fua, verify, fill, depth, connections;
  uint32_t block;
  uint64_t offset, range, seed;
  double seconds, warmup;
} opt = { .export_name = "", .depth = 1, .connections = 1, .block = 4096, .seconds = 3, .warmup = 0.5, .seed = 1 };

struct connection {
  int fd, index;
  uint64_t random, next_sequential, operations, errors, mismatches, started_ns[MAX_DEPTH], offsets[MAX_DEPTH];
  uint64_t first_ns, last_ns;
  unsigned char *slots[MAX_DEPTH]; /* request header and payload of writes; data of checked reads */
  uint32_t histogram[HIST_BUCKETS];
};

static void die(const char *what) {
  fprintf(stderr, "nbdload: %s: %s\n", what, errno ? strerror(errno) : "protocol error");
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void send_all(int fd, const void *data, size_t length) {
  for (const char *p = data; length > 0;) {
    ssize_t n = send(fd, p, length, MSG_NOSIGNAL);
    if (n <= 0) die("send");
    p += n, length -= (size_t)n;
  }
}

static void receive_all(int fd, void *data, size_t length) {
  for (char *p = data; length > 0;) {
    ssize_t n = recv(fd, p, length, 0);
    if (n == 0) errno = ECONNRESET;
    if (n <= 0) die("receive");
    p += n, length -= (size_t)n;
  }
}

static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* Content at an offset: a cheap generator, seeded anew for every 512 bytes, so that any sector can be checked alone. */
static void pattern(void *target, uint64_t offset, size_t length) {
  uint64_t *words = target;
  for (size_t i = 0; i < length / 8; i++) {
    if (i % 64 == 0) words[i] = mix(opt.seed * 0x100000001b3u ^ (offset / 8 + i));
    else words[i] = words[i - 1] * 6364136223846793005u + 1442695040888963407u;
  }
}

static void header(unsigned char *at, uint16_t flags, uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length) {
  uint32_t magic = htobe32(0x25609513);
  uint16_t f = htobe16(flags), c = htobe16(command);
  uint64_t o = htobe64(offset);
  uint32_t l = htobe32(length);
  memcpy(at, &magic, 4), memcpy(at + 4, &f, 2), memcpy(at + 6, &c, 2), memcpy(at + 8, &cookie, 8);
  memcpy(at + 16, &o, 8), memcpy(at + 24, &l, 4);
}

/* Connects and negotiates with GO; gives the export's size. */
static uint64_t negotiate(struct connection *c) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  if (strlen(opt.socket) >= sizeof address.sun_path) { errno = ENAMETOOLONG; die(opt.socket); }
  strcpy(address.sun_path, opt.socket);
  c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die(opt.socket);
  struct timeval timeout = { .tv_sec = IO_TIMEOUT_SECONDS };
  setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  int buffer = 2 << 20;
  setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  unsigned char greeting[18], message[64 + 4096], reply[20], info[4096];
  receive_all(c->fd, greeting, sizeof greeting);
  errno = 0;
  if (memcmp(greeting, "NBDMAGICIHAVEOPT", 16) != 0) die("not an NBD newstyle server");
  uint32_t name_length = (uint32_t)strlen(opt.export_name);
  uint32_t words[] = { htobe32(3), 0, 0, htobe32(7), htobe32(4 + name_length + 2), htobe32(name_length) };
  memcpy(message, words, sizeof words), memcpy(message + 4, "IHAVEOPT", 8);
  memcpy(message + sizeof words, opt.export_name, name_length), memset(message + sizeof words + name_length, 0, 2);
  send_all(c->fd, message, sizeof words + name_length + 2);
  uint64_t size = 0;
  for (;;) {
    receive_all(c->fd, reply, sizeof reply);
    uint32_t type, length;
    memcpy(&type, reply + 12, 4), memcpy(&length, reply + 16, 4);
    type = be32toh(type), length = be32toh(length);
    errno = 0;
    if (length > sizeof info) die("option reply too long");
    receive_all(c->fd, info, length);
    if (type == 1) return size;
    if (type != 3) die("the server refuses the export");
    if (length >= 12 && info[0] == 0 && info[1] == 0) memcpy(&size, info + 2, 8), size = be64toh(size);
  }
}

static void record(struct connection *c, uint64_t ns) {
  unsigned power = ns < HIST_STEPS ? 0 : 63 - (unsigned)__builtin_clzll(ns) - 4;
  unsigned bucket = power == 0 ? (unsigned)ns : power * HIST_STEPS + (unsigned)((ns >> power) & (HIST_STEPS - 1)) ;
  c->histogram[bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1]++;
}

static double bucket_us(unsigned bucket) {
  unsigned power = bucket / HIST_STEPS, step = bucket % HIST_STEPS;
  return power == 0 ? step / 1e3 : (double)((uint64_t)(HIST_STEPS + step) << power) / 1e3;
}

static uint64_t next_offset(struct connection *c, uint32_t block, int sequential) {
  uint64_t blocks = opt.range / block;
  if (sequential) return opt.offset + (c->next_sequential++ % blocks) * block;
  c->random = mix(c->random);
  return opt.offset + (c->random % blocks) * block;
}

/* Puts the request of a slot into the iovec list; the caller sends the list. */
static int prepare(struct connection *c, unsigned slot, struct iovec *iov, uint32_t block, int write, int sequential) {
  uint64_t offset = c->offsets[slot] = next_offset(c, block, sequential);
  unsigned char *buffer = c->slots[slot];
  header(buffer, write && opt.fua ? FLAG_FUA : 0, write ? CMD_WRITE : CMD_READ, slot, offset, block);
  iov->iov_base = buffer, iov->iov_len = REQUEST_BYTES;
  if (write) {
    /* 4 bytes of gap in front of the slot keep the payload at a multiple of 8. */
    pattern(buffer + REQUEST_BYTES, offset, block);
    iov->iov_len += block;
  }
  return 1;
}

static void send_vector(int fd, struct iovec *iov, int count) {
  while (count > 0) {
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = (size_t)count };
    ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (n <= 0) die("send");
    while (count > 0 && (size_t)n >= iov->iov_len) n -= (ssize_t)iov->iov_len, iov++, count--;
    if (count > 0) iov->iov_base = (char *)iov->iov_base + n, iov->iov_len -= (size_t)n;
  }
}

struct job { uint32_t block; int depth, write, sequential, verify; uint64_t operations; uint64_t until_ns, count_from_ns; };

static void check_data(struct connection *c, unsigned slot, uint32_t block) {
  static __thread unsigned char *expected;
  if (!expected && !(expected = malloc(64 << 20))) die("malloc");
  pattern(expected, c->offsets[slot], block);
  if (memcmp(expected, c->slots[slot] + REQUEST_BYTES, block) != 0) {
    if (c->mismatches++ == 0) fprintf(stderr, "nbdload: wrong data at offset %llu\n", (unsigned long long)c->offsets[slot]);
  }
}

/* The loop: what has come is parsed, each finished slot gets a new request, all new requests go in one send. */
static void run_job(struct connection *c, const struct job *job) {
  static __thread unsigned char *buffer;
  if (!buffer && !(buffer = malloc(RECEIVE_BYTES))) die("malloc");
  struct iovec iov[MAX_DEPTH];
  uint64_t issued = 0, payload_left = 0, now = now_ns();
  unsigned slot = 0, in_flight = 0, have = 0;
  uint32_t block = job->block;
  for (unsigned i = 0; i < (unsigned)job->depth && (job->operations == 0 || issued < job->operations); i++, issued++, in_flight++) {
    prepare(c, i, &iov[i], block, job->write, job->sequential);
    c->started_ns[i] = now;
  }
  send_vector(c->fd, iov, (int)in_flight);
  while (in_flight > 0) {
    ssize_t n = recv(c->fd, buffer + have, RECEIVE_BYTES - have, 0);
    if (n == 0) errno = ECONNRESET;
    if (n <= 0) die("receive");
    now = now_ns();
    unsigned at = 0, end = have + (unsigned)n, ready = 0;
    for (;;) {
      if (payload_left > 0) {
        unsigned take = end - at < payload_left ? end - at : (unsigned)payload_left;
        if (job->verify) memcpy(c->slots[slot] + REQUEST_BYTES + (block - payload_left), buffer + at, take);
        at += take, payload_left -= take;
        if (payload_left > 0) break;
        if (job->verify) check_data(c, slot, block);
      } else {
        if (end - at < REPLY_BYTES) break;
        uint32_t magic, error;
        uint64_t cookie;
        memcpy(&magic, buffer + at, 4), memcpy(&error, buffer + at + 4, 4), memcpy(&cookie, buffer + at + 8, 8);
        errno = 0;
        if (be32toh(magic) != 0x67446698 || cookie >= (uint64_t)job->depth) die("bad reply");
        at += REPLY_BYTES, slot = (unsigned)cookie;
        if (error) c->errors++;
        else if (!job->write) { payload_left = block; continue; }
      }
      in_flight--;
      if (now >= job->count_from_ns) {
        if (c->operations++ == 0) c->first_ns = now;
        c->last_ns = now;
        record(c, now - c->started_ns[slot]);
      }
      if (job->operations ? issued < job->operations : now < job->until_ns) {
        prepare(c, slot, &iov[ready++], block, job->write, job->sequential);
        c->started_ns[slot] = now, issued++, in_flight++;
      }
    }
    have = end - at;
    if (have > 0) memmove(buffer, buffer + at, have);
    if (ready > 0) send_vector(c->fd, iov, (int)ready);
  }
}

static void simple_command(struct connection *c, uint16_t command) {
  unsigned char request[REQUEST_BYTES], reply[REPLY_BYTES];
  header(request, 0, command, 0, 0, 0);
  send_all(c->fd, request, sizeof request);
  if (command == CMD_DISC) return;
  receive_all(c->fd, reply, sizeof reply);
  uint32_t error;
  memcpy(&error, reply + 4, 4);
  if (error) die("flush");
}

static struct job main_job;

static void *connection_thread(void *argument) {
  run_job(argument, &main_job);
  return NULL;
}

static double percentile(const uint64_t *histogram, uint64_t total, double share) {
  uint64_t wanted = (uint64_t)((double)total * share), seen = 0;
  for (unsigned i = 0; i < HIST_BUCKETS; i++)
    if ((seen += histogram[i]) > wanted) return bucket_us(i);
  return 0;
}

static void report(struct connection *connections) {
  static uint64_t histogram[HIST_BUCKETS];
  uint64_t operations = 0, errors = 0, mismatches = 0, last = 0;
  for (int i = 0; i < opt.connections; i++) {
    struct connection *c = &connections[i];
    operations += c->operations, errors += c->errors, mismatches += c->mismatches;
    if (c->last_ns > last) last = c->last_ns;
    for (unsigned b = 0; b < HIST_BUCKETS; b++) histogram[b] += c->histogram[b];
  }
  double seconds = last > main_job.count_from_ns ? (double)(last - main_job.count_from_ns) / 1e9 : 0;
  double rate = seconds > 0 ? (double)operations / seconds : 0;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("{\"operations\":%llu,\"seconds\":%.3f,\"iops\":%.0f,\"mbPerSecond\":%.1f,\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,"
         "\"maxUs\":%.1f,\"errors\":%llu,\"mismatches\":%llu,\"clientCpuSeconds\":%.2f}\n",
         (unsigned long long)operations, seconds, rate, rate * opt.block / 1e6, percentile(histogram, operations, 0.5),
         percentile(histogram, operations, 0.99), percentile(histogram, operations, 0.999), percentile(histogram, operations, 1 - 1e-12),
         (unsigned long long)errors, (unsigned long long)mismatches, cpu);
  if (errors > 0 || mismatches > 0) exit(2);
}

static uint64_t parse_bytes(const char *text) {
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  switch (*end) {
    case 'k': case 'K': return value << 10;
    case 'm': case 'M': return value << 20;
    case 'g': case 'G': return value << 30;
    default: return value;
  }
}

static void parse_options(int argc, char **argv) {
  int mode = 0;
  for (int o; (o = getopt(argc, argv, "u:e:m:b:q:c:t:w:o:s:r:SfVF")) != -1;) switch (o) {
    case 'u': opt.socket = optarg; break;
    case 'e': opt.export_name = optarg; break;
    case 'm': opt.write = strcmp(optarg, "write") == 0, mode = opt.write || strcmp(optarg, "read") == 0; break;
    case 'b': opt.block = (uint32_t)parse_bytes(optarg); break;
    case 'q': opt.depth = atoi(optarg); break;
    case 'c': opt.connections = atoi(optarg); break;
    case 't': opt.seconds = atof(optarg); break;
    case 'w': opt.warmup = atof(optarg); break;
    case 'o': opt.offset = parse_bytes(optarg); break;
    case 's': opt.range = parse_bytes(optarg); break;
    case 'r': opt.seed = strtoull(optarg, NULL, 10); break;
    case 'S': opt.sequential = 1; break;
    case 'f': opt.fua = 1; break;
    case 'V': opt.verify = 1; break;
    case 'F': opt.fill = 1; break;
    default: exit(2);
  }
  if (!opt.socket || !mode || opt.depth < 1 || opt.depth > MAX_DEPTH || opt.connections < 1 || opt.connections > MAX_CONNECTIONS ||
      opt.block < 512 || opt.block > 32u << 20 || opt.block % 512 || strlen(opt.export_name) > 4096) {
    fprintf(stderr, "usage: nbdload -u SOCKET -m read|write [-e EXPORT] [-S] [-b BYTES] [-q 1..256] [-c 1..64] [-t S] [-w S] [-o OFFSET] [-s RANGE] [-fVF] [-r SEED]\n");
    exit(2);
  }
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  static struct connection connections[MAX_CONNECTIONS];
  size_t payload = opt.fill && opt.block < FILL_BYTES ? FILL_BYTES : opt.block;
  for (int i = 0; i < opt.connections; i++) {
    struct connection *c = &connections[i];
    uint64_t size = negotiate(c);
    if (opt.range == 0) opt.range = size - opt.offset;
    errno = 0;
    if (opt.offset + opt.range > size || opt.range < opt.block) die("the range does not fit the export");
    c->index = i, c->random = mix(opt.seed * 1000 + (uint64_t)i);
    c->next_sequential = opt.range / opt.block / (uint64_t)opt.connections * (uint64_t)i;
    for (int s = 0; s < opt.depth || s < FILL_DEPTH; s++) {
      unsigned char *memory = aligned_alloc(4096, (payload + 8191) / 4096 * 4096);
      if (!memory) die("malloc");
      memset(memory, 0, payload + 32);
      c->slots[s] = memory + 4;
    }
  }
  if (opt.fill) {
    int fua = opt.fua;
    struct connection *c = &connections[0];
    uint64_t keep = c->next_sequential;
    opt.fua = 0, c->next_sequential = 0;
    errno = 0;
    if (opt.range % FILL_BYTES) die("-F needs a range of whole MiB");
    run_job(c, &(struct job){ .block = FILL_BYTES, .depth = FILL_DEPTH, .write = 1, .sequential = 1, .operations = opt.range / FILL_BYTES, .count_from_ns = UINT64_MAX });
    simple_command(c, CMD_FLUSH);
    opt.fua = fua, c->next_sequential = keep;
  }
  uint64_t now = now_ns();
  main_job = (struct job){ .block = opt.block, .depth = opt.depth, .write = opt.write, .sequential = opt.sequential, .verify = opt.verify && !opt.write,
                           .until_ns = now + (uint64_t)((opt.warmup + opt.seconds) * 1e9), .count_from_ns = now + (uint64_t)(opt.warmup * 1e9) };
  pthread_t threads[MAX_CONNECTIONS];
  for (int i = 0; i < opt.connections; i++)
    if (pthread_create(&threads[i], NULL, connection_thread, &connections[i])) die("pthread_create");
  for (int i = 0; i < opt.connections; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < opt.connections; i++) simple_command(&connections[i], CMD_DISC);
  report(connections);
  return 0;
}
