// Object headers, version 1 and 2: the list of messages that describes a group or a dataset.
#include <cstring>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace fovea::weights::hdf5 {
namespace {

constexpr std::uint16_t kContinuation = 0x10;
/// A version 1 header counts its messages in 16 bits.
constexpr std::size_t kMaxMessages = 65536;

struct Piece {
  std::uint64_t address, size;
};

/// Collects the messages of one block and the continuations that they name.
class Collector {
 public:
  Collector(Source& source, bool new_style, bool ordered) : source_(source), new_style_(new_style), ordered_(ordered) {}

  void add(Cursor& block) {
    const std::size_t head = new_style_ ? (ordered_ ? 6 : 4) : 8;
    while (block.remaining() >= head) {  // what is left of a block may be a gap
      Message message;
      message.type = new_style_ ? block.u8() : block.u16();
      const std::uint64_t size = block.u16();
      message.flags = block.u8();
      block.skip(new_style_ ? (ordered_ ? 2 : 0) : 3);
      message.data = block.take(size);
      if (message.type == kContinuation) {
        Cursor cursor(source_, message.data, "a continuation of an object header");
        const std::uint64_t address = cursor.offset();
        pieces_.push_back({address, cursor.length()});
        if (!seen_.insert(address).second) cursor.damaged("it continues in itself");
      } else if (message.type != 0) {
        if (messages_.size() == kMaxMessages) block.damaged("too many messages");
        messages_.push_back(message);
      }
    }
  }

  std::vector<Message> finish() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const Piece piece = pieces_[i];
      const char* what = "a continuation of an object header";
      if (new_style_) {
        Cursor block = source_.block(piece.address, piece.size, "OCHK", true, what);
        add(block);
      } else {
        Cursor block(source_, source_.metadata(piece.address, piece.size, what), what);
        add(block);
      }
    }
    return std::move(messages_);
  }

 private:
  Source& source_;
  bool new_style_, ordered_;
  std::vector<Message> messages_;
  std::vector<Piece> pieces_;
  std::unordered_set<std::uint64_t> seen_;
};

std::vector<Message> read_version_2(Source& source, std::uint64_t address) {
  // How long the head is stands in its flags.
  Cursor head = source.block(address, 6, "OHDR", false, "an object header");
  if (head.u8() != 2) head.damaged("unknown version");
  const std::uint8_t flags = head.u8();
  const int size_bytes = 1 << (flags & 3);
  const std::uint64_t before = 6u + (flags & 0x20 ? 16u : 0u) + (flags & 0x10 ? 4u : 0u);
  Cursor sizes(source, source.metadata(address + before, static_cast<std::uint64_t>(size_bytes), "an object header"),
               "an object header");
  const std::uint64_t size = sizes.sized(size_bytes);
  const std::uint64_t prefix = before + static_cast<std::uint64_t>(size_bytes);
  if (size > source.bytes.size()) head.damaged(str("it claims ", size, " bytes"));
  Cursor block = source.block(address, prefix + size + 4, "OHDR", true, "an object header");
  block.skip(prefix - 4);
  Collector collector(source, true, (flags & 4) != 0);
  collector.add(block);
  return collector.finish();
}

}  // namespace

std::vector<Message> read_object_header(Source& source, std::uint64_t address) {
  const char* what = "an object header";
  const std::span<const std::uint8_t> start = source.data(address, 4, what);
  if (std::memcmp(start.data(), "OHDR", 4) == 0) return read_version_2(source, address);
  Cursor head(source, source.metadata(address, 16, what), what);
  if (head.u8() != 1) head.damaged(str("no known version at ", address));
  head.skip(7);  // reserved, number of messages, number of links to it
  const std::uint64_t size = head.u32();
  Cursor block(source, source.metadata(address + 16, size, what), what);
  Collector collector(source, false, false);
  collector.add(block);
  return collector.finish();
}

std::span<const std::uint8_t> resolve_shared(Source& source, const Message& message) {
  if ((message.flags & 2) == 0) return message.data;
  Cursor cursor(source, message.data, "a shared message");
  const int version = cursor.u8();
  const int type = cursor.u8();
  if (version == 1) cursor.skip(6);
  if (version < 1 || version > 3) cursor.damaged("unknown version");
  if (version == 3 && type == 1) source.unsupported("messages shared through a heap", "write it with h5py's defaults");
  for (const Message& other : read_object_header(source, cursor.offset())) {
    if (other.type == message.type && (other.flags & 2) == 0) return other.data;
  }
  cursor.damaged("what it refers to is not there");
}

}  // namespace fovea::weights::hdf5
