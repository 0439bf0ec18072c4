// The bytes of an HDF5 file as its addresses see them, and a cursor over a piece of them: the only way in which the
// reader's other files look at memory.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace fovea::weights::hdf5 {

/// "There is none": the address or size with all bits set, whatever its width in the file.
inline constexpr std::uint64_t kUndefined = ~std::uint64_t{0};

class Cursor;

/// Whether wrong checksums of metadata are errors. Only the fuzz target says no: whoever means harm gets them right.
extern bool verify_checksums;

struct Source {
  std::span<const std::uint8_t> bytes;  ///< from the base address to the end that the superblock gives
  std::string where;
  int offset_size = 8;
  int length_size = 8;
  /// Metadata bytes that may still be parsed. Each is parsed once or twice in an honest file; whoever makes us parse
  /// them again and again (links in circles, a heap object named a million times) is stopped.
  std::uint64_t budget = 0;

  /// Error{format}: the file is damaged.
  [[noreturn]] void damaged(std::string_view what) const;
  /// Error{format}: the file may be fine, but uses something that this reader does not know.
  [[noreturn]] void unsupported(std::string_view what, std::string_view hint = {}) const;
  /// Takes from the budget.
  void pay(std::uint64_t amount);
  /// `size` bytes of metadata at an address, paid for. `what` names the structure in errors.
  std::span<const std::uint8_t> metadata(std::uint64_t address, std::uint64_t size, const char* what);
  /// The same for raw data, which is free.
  std::span<const std::uint8_t> data(std::uint64_t address, std::uint64_t size, const char* what) const;
  /// A cursor over `size` bytes that checks that they start with `signature` and, where `checksum`, that the last four
  /// are the checksum of those before (they are then left out).
  Cursor block(std::uint64_t address, std::uint64_t size, std::string_view signature, bool checksum, const char* what);
};

/// A piece of metadata, read from the front. Reading past its end is Error{format}.
class Cursor {
 public:
  Cursor(Source& source, std::span<const std::uint8_t> bytes, const char* what)
      : source_(&source), bytes_(bytes), what_(what) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(sized(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(sized(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(sized(4)); }
  std::uint64_t u64() { return sized(8); }
  /// A little-endian number of 0 to 8 bytes.
  std::uint64_t sized(int width);
  /// An address; kUndefined if all its bits are set.
  std::uint64_t offset();
  std::uint64_t length();
  std::span<const std::uint8_t> take(std::uint64_t count);
  std::string text(std::uint64_t count);
  void skip(std::uint64_t count) { take(count); }
  std::size_t remaining() const { return bytes_.size() - at_; }
  std::size_t position() const { return at_; }
  std::span<const std::uint8_t> rest() const { return bytes_.subspan(at_); }
  [[noreturn]] void damaged(std::string_view what) const;

 private:
  Source* source_;
  std::span<const std::uint8_t> bytes_;
  const char* what_;
  std::size_t at_ = 0;
};

/// a·b, or Error{format} beyond 2^62.
std::uint64_t product(const Source& source, std::uint64_t a, std::uint64_t b);
std::uint64_t product(const Source& source, std::span<const std::uint64_t> factors);

/// The checksum of new-style metadata: Bob Jenkins' lookup3, "hashlittle" with the initial value 0.
std::uint32_t metadata_checksum(std::span<const std::uint8_t> bytes);
std::uint32_t fletcher32(std::span<const std::uint8_t> bytes);

/// The data segment of a local heap: names of an old group.
std::span<const std::uint8_t> local_heap(Source& source, std::uint64_t address);
/// The text at an offset of a local heap, which ends with a zero byte.
std::string local_heap_text(Source& source, std::span<const std::uint8_t> heap, std::uint64_t offset);

/// A collection of the global heap: what its objects, by index, hold.
using GlobalHeap = std::unordered_map<std::uint32_t, std::span<const std::uint8_t>>;
GlobalHeap read_global_heap(Source& source, std::uint64_t address);

/// A fractal heap: where new groups keep many links, and objects many attributes.
class FractalHeap {
 public:
  FractalHeap(Source& source, std::uint64_t address);
  /// The object that a heap ID names.
  std::span<const std::uint8_t> object(std::span<const std::uint8_t> id);

 private:
  struct Block {
    std::uint64_t offset, size;  ///< in the heap's own address space
    std::span<const std::uint8_t> bytes;
  };
  void add_direct(std::uint64_t address, std::uint64_t offset, std::uint64_t size);
  void add_indirect(std::uint64_t address, std::uint64_t offset, std::uint64_t rows);
  std::uint64_t row_size(std::uint64_t row) const;
  void read_huge_index();

  Source* source_;
  std::uint64_t address_;
  int id_length_ = 0, offset_bytes_ = 0, length_bytes_ = 0;
  bool checksums_ = false;
  std::uint64_t width_ = 0, start_size_ = 0, max_direct_ = 0, huge_index_ = kUndefined;
  bool huge_read_ = false;
  std::vector<Block> blocks_;                                                        ///< sorted by offset
  std::unordered_map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> huge_;  ///< id: address and size
};

/// Calls `visit` with each record of a version 2 B-tree, in the tree's order. `types` are the record types that are
/// meant; the one found is passed on.
void for_each_record(Source& source, std::uint64_t address, std::span<const std::uint8_t> types,
                     const std::function<void(std::uint8_t type, std::span<const std::uint8_t> record)>& visit);

}  // namespace fovea::weights::hdf5
