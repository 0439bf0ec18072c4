// TensorBoard event files.
#include "train/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace fovea {
namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}();

/// TFRecord stores rotated CRCs, because a CRC of data that contains its own CRC is no check.
std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

template <class T>
void put_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(static_cast<unsigned char>(value | 0x80));
  out += static_cast<char>(value);
}

// Protocol buffer wire types: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes.
void put_double(std::string& out, int field, double value) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | 1);
  put_little_endian(out, std::bit_cast<std::uint64_t>(value));
}
void put_float(std::string& out, int field, float value) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | 5);
  put_little_endian(out, std::bit_cast<std::uint32_t>(value));
}
void put_int(std::string& out, int field, std::int64_t value) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3);
  put_varint(out, static_cast<std::uint64_t>(value));
}
void put_bytes(std::string& out, int field, std::string_view value) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  put_varint(out, value.size());
  out += value;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xffu];
  return ~crc;
}

TensorBoardWriter::TensorBoardWriter(const std::string& folder) {
  make_folders(folder);
  char host[65] = {};
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') std::strcpy(host, "host");
  // TensorBoard orders the files of a run by name; the counter keeps two writers of one process and second apart.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    char name[160];
    std::snprintf(name, sizeof name, "/events.out.tfevents.%010lld.%s.%ld.%d", static_cast<long long>(wall_time()),
                  host, static_cast<long>(::getpid()), attempt);
    path_ = folder + name;
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor_ >= 0 || errno != EEXIST) break;
  }
  if (descriptor_ < 0) throw Error(ErrorKind::file, path_, str("cannot create it: ", std::strerror(errno)));
  std::string event;
  put_double(event, 1, wall_time());
  put_bytes(event, 3, "brain.Event:2");
  record(event);
}

TensorBoardWriter::~TensorBoardWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void TensorBoardWriter::scalar(std::string_view tag, std::int64_t step, double value) {
  std::string point, summary, event;
  put_bytes(point, 1, tag);
  put_float(point, 2, static_cast<float>(value));
  put_bytes(summary, 1, point);
  put_double(event, 1, wall_time());
  put_int(event, 2, step);
  put_bytes(event, 5, summary);
  record(event);
}

void TensorBoardWriter::record(const std::string& event) {
  std::string frame;
  put_little_endian(frame, static_cast<std::uint64_t>(event.size()));
  put_little_endian(frame, masked_crc(frame));
  frame += event;
  put_little_endian(frame, masked_crc(event));
  for (std::size_t done = 0; done < frame.size();) {
    const ssize_t wrote = ::write(descriptor_, frame.data() + done, frame.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) throw Error(ErrorKind::file, path_, str("cannot write: ", std::strerror(errno)));
    done += static_cast<std::size_t>(wrote);
  }
}

}  // namespace fovea
