// The kernel's NBD client told over netlink (linux/nbd-netlink.h) what nbd-client 3.24 cannot tell it: that requests wait while all connections are dead,
// and that there are new ones.
//   nbd-netlink connect|reconfigure INDEX HOST PORT NAME CONNECTIONS
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// A request on a dead connection is sent on another one after this time.
static const uint64_t REQUEST_TIMEOUT_S = 5;
// How long requests wait for a connection when none is left.
static const uint64_t DEAD_CONNECTION_TIMEOUT_S = 200;
static const uint64_t BLOCK_BYTES = 4096;

#define MAX_CONNECTIONS 16

static void fail(const char* what) {
  fprintf(stderr, "nbd-netlink: %s: %s\n", what, errno == 0 ? "not as expected" : strerror(errno));
  exit(1);
}

static void readAll(int fd, void* to, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    errno = 0;
    const ssize_t count = read(fd, (char*)to + done, bytes - done);
    if (count <= 0) fail("the server has closed");
    done += (size_t)count;
  }
}

static void writeAll(int fd, const void* from, size_t bytes) {
  if (send(fd, from, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) fail("send");
}

// A connection in the transmission phase, by EXPORT_NAME (proto.md, "Newstyle negotiation").
static int openConnection(const char* host, int port, const char* name, uint64_t* size, uint16_t* flags) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("the host is an IPv4 address");
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) < 0) fail("connect");
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  char greeting[18];
  readAll(fd, greeting, sizeof greeting);
  if (memcmp(greeting, "NBDMAGICIHAVEOPT", 16) != 0) fail("the greeting");
  const uint32_t clientFlags = htonl(3), option = htonl(1), length = htonl((uint32_t)strlen(name));
  writeAll(fd, &clientFlags, 4);
  writeAll(fd, "IHAVEOPT", 8);
  writeAll(fd, &option, 4);
  writeAll(fd, &length, 4);
  writeAll(fd, name, strlen(name));
  readAll(fd, size, 8);
  readAll(fd, flags, 2);
  *size = be64toh(*size);
  *flags = ntohs(*flags);
  return fd;
}

struct Message {
  struct nlmsghdr header;
  struct genlmsghdr generic;
  char attributes[1024];
};

static struct nlattr* put(struct Message* message, int type, const void* data, size_t bytes) {
  struct nlattr* attribute = (struct nlattr*)((char*)message + NLMSG_ALIGN(message->header.nlmsg_len));
  attribute->nla_type = (uint16_t)type;
  attribute->nla_len = (uint16_t)(NLA_HDRLEN + bytes);
  if (bytes > 0) memcpy((char*)attribute + NLA_HDRLEN, data, bytes);
  message->header.nlmsg_len = NLMSG_ALIGN(message->header.nlmsg_len) + NLA_ALIGN(attribute->nla_len);
  return attribute;
}

static void putNumber(struct Message* message, int type, uint64_t value) { put(message, type, &value, sizeof value); }

// What has been put since belongs to it.
static void endNested(struct Message* message, struct nlattr* nested) {
  nested->nla_type |= NLA_F_NESTED;
  nested->nla_len = (uint16_t)((char*)message + message->header.nlmsg_len - (char*)nested);
}

static struct Message begin(uint16_t family, uint8_t command, uint16_t flags) {
  struct Message message = {.header = {.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN), .nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST | flags},
                            .generic = {.cmd = command, .version = 1}};
  return message;
}

static uint16_t familyOf(int netlink, const char* name) {
  struct Message message = begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
  put(&message, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
  if (send(netlink, &message, message.header.nlmsg_len, 0) < 0) fail("netlink");
  char answer[8192];
  const ssize_t bytes = recv(netlink, answer, sizeof answer, 0);
  errno = 0;
  const struct nlmsghdr* header = (struct nlmsghdr*)answer;
  if (bytes < 0 || header->nlmsg_type == NLMSG_ERROR) fail("the kernel has no nbd (modprobe nbd)");
  for (const char* at = answer + NLMSG_LENGTH(GENL_HDRLEN); at < answer + header->nlmsg_len;) {
    const struct nlattr* attribute = (const struct nlattr*)at;
    if (attribute->nla_type == CTRL_ATTR_FAMILY_ID) return *(const uint16_t*)(at + NLA_HDRLEN);
    at += NLA_ALIGN(attribute->nla_len);
  }
  fail("the family's number");
  return 0;
}

// Sends, and waits for the kernel's word; a message of its own may come before.
static void carryOut(int netlink, const struct Message* message) {
  if (send(netlink, message, message->header.nlmsg_len, 0) < 0) fail("netlink");
  for (;;) {
    char answer[8192];
    if (recv(netlink, answer, sizeof answer, 0) < 0) fail("netlink");
    if (((struct nlmsghdr*)answer)->nlmsg_type != NLMSG_ERROR) continue;
    errno = -((struct nlmsgerr*)NLMSG_DATA(answer))->error;
    if (errno != 0) fail("the kernel refuses");
    return;
  }
}

int main(int argc, char** argv) {
  if (argc != 7) return fprintf(stderr, "nbd-netlink connect|reconfigure INDEX HOST PORT NAME CONNECTIONS\n"), 2;
  const int isNew = strcmp(argv[1], "connect") == 0;
  const int connections = atoi(argv[6]);
  if (connections < 1 || connections > MAX_CONNECTIONS) return fprintf(stderr, "1 to %d connections\n", MAX_CONNECTIONS), 2;
  uint64_t size = 0;
  uint16_t flags = 0;
  int fds[MAX_CONNECTIONS];
  for (int i = 0; i < connections; i++) fds[i] = openConnection(argv[3], atoi(argv[4]), argv[5], &size, &flags);

  const int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
  if (netlink < 0) fail("netlink");
  struct Message message = begin(familyOf(netlink, NBD_GENL_FAMILY_NAME), isNew ? NBD_CMD_CONNECT : NBD_CMD_RECONFIGURE, NLM_F_ACK);
  const uint32_t index = (uint32_t)atoi(argv[2]);
  put(&message, NBD_ATTR_INDEX, &index, sizeof index);
  if (isNew) {
    putNumber(&message, NBD_ATTR_SIZE_BYTES, size);
    putNumber(&message, NBD_ATTR_BLOCK_SIZE_BYTES, BLOCK_BYTES);
    putNumber(&message, NBD_ATTR_SERVER_FLAGS, flags);
  }
  putNumber(&message, NBD_ATTR_TIMEOUT, REQUEST_TIMEOUT_S);
  putNumber(&message, NBD_ATTR_DEAD_CONN_TIMEOUT, DEAD_CONNECTION_TIMEOUT_S);
  struct nlattr* sockets = put(&message, NBD_ATTR_SOCKETS, NULL, 0);
  for (int i = 0; i < connections; i++) {
    struct nlattr* item = put(&message, NBD_SOCK_ITEM, NULL, 0);
    put(&message, NBD_SOCK_FD, &fds[i], sizeof fds[i]);
    endNested(&message, item);
  }
  endNested(&message, sockets);
  carryOut(netlink, &message);
  printf("%s: %llu bytes\n", argv[1], (unsigned long long)size);
  return 0;
}
