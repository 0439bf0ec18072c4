// A strict, read-only reader of the subset of HDF5 that h5py and Keras write: superblocks 0 to 3, old and new groups,
// attributes, contiguous, compact and chunked data with gzip, shuffle and fletcher32. It knows nothing of Keras.
// Written because libhdf5 crashes on damaged files. What it reads is described in "HDF5 File Format Specification
// Version 3.0/4.0" of The HDF Group; names of fields below are those of that document.
//
// Nothing is trusted: every address and size is checked against the bytes that are there, walks of trees visit a node
// once, and each piece of metadata that is parsed is paid for from a budget proportional to the file's size.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "models/weights/hdf5/bytes_internal.h"

namespace fovea::weights::hdf5 {

/// Where a file of these bytes has its superblock (0, 512, 1024, …), or nothing if it is no HDF5 file.
std::optional<std::size_t> find_superblock(std::span<const std::uint8_t> bytes);

enum class LinkKind { hard, soft, external };

struct Link {
  LinkKind kind = LinkKind::hard;
  std::uint64_t address = 0;  ///< of the object header, for a hard link
  std::string target;         ///< the path, for a soft link
};

struct Group {
  std::map<std::string, Link, std::less<>> links;
};

struct Type {
  enum class Kind { integer, floating, bfloat16, fixed_string, vlen_string, opaque, other };
  Kind kind = Kind::other;
  std::uint64_t size = 0;  ///< bytes of one element as stored
  bool big_endian = false;
  bool is_signed = false;
  const char* name = "";  ///< for messages
};

struct Dataspace {
  bool null = false;  ///< no element at all (a scalar has rank 0 and one)
  std::vector<std::uint64_t> dims;
  std::vector<std::uint64_t> max_dims;  ///< as dims where the file says nothing; kUndefined for unlimited
};

struct Attribute {
  std::string name;
  Type type;
  Dataspace space;
  std::uint64_t count = 0;  ///< elements
  std::span<const std::uint8_t> data;
};

struct Filter {
  std::uint16_t id = 0;
  std::vector<std::uint32_t> values;
};

struct Layout {
  enum class Kind { compact, contiguous, chunked };
  enum class Index { btree1, single, implicit, fixed_array, extensible_array, btree2 };
  Kind kind = Kind::contiguous;
  std::uint64_t address = kUndefined;  ///< of the data or of the chunk index
  std::uint64_t size = 0;              ///< contiguous: bytes stored; single chunk: bytes after filters
  std::span<const std::uint8_t> data;  ///< compact
  Index index = Index::btree1;
  std::vector<std::uint64_t> chunk;  ///< extents of a chunk, without the element size
  bool plain_edges = false;          ///< chunks that stick out of the dataset are stored without filters
  std::uint32_t filter_mask = 0;     ///< of a single chunk
};

struct Dataset {
  std::string name;  ///< for messages
  Type type;
  Dataspace space;
  Layout layout;
  std::vector<Filter> filters;  ///< in the order of writing
  std::span<const std::uint8_t> fill;
  std::uint64_t count = 0;     ///< elements
  std::uint64_t unpacked = 0;  ///< bytes that reading has to go through: those of all chunks, or of the elements
};

struct Chunk {
  std::span<const std::uint64_t> position;  ///< in chunks, one per axis
  std::uint64_t address = 0;
  std::uint64_t size = 0;  ///< bytes stored
  std::uint32_t filter_mask = 0;
};

/// A message of an object header.
struct Message {
  std::uint16_t type = 0;
  std::uint8_t flags = 0;
  std::span<const std::uint8_t> data;
};

class File {
 public:
  /// Error{format} unless `bytes` start (at an allowed place) with an HDF5 superblock whose file lies within them.
  File(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, std::string where);

  std::uint64_t root() const { return root_; }
  const std::string& where() const { return source_.where; }
  std::uint64_t size() const { return source_.bytes.size(); }

  /// The members of a group; empty for an object that is no group. Parsed once.
  const Group& group(std::uint64_t address);
  bool is_dataset(std::uint64_t address);
  std::vector<Attribute> attributes(std::uint64_t address);
  /// Follows names and soft links from a group. Nothing if a name on the way is not there or lies in a dataset;
  /// Error{format} for external links and links in a circle.
  std::optional<std::uint64_t> find(std::uint64_t from, std::string_view path);
  /// `name` is used in messages. Walks through the index of chunks, so that damage there shows now.
  Dataset dataset(std::uint64_t address, std::string name);

  /// Lets go of what was parsed; the file stays usable.
  void forget();

  /// The texts of an attribute of fixed or variable-length strings, without padding.
  std::vector<std::string> strings(const Attribute& attribute);

  /// The element type that read() gives, or nothing for types that are no numbers. Integers that Tensor does not have
  /// become the next larger one.
  static std::optional<DType> element_type(const Type& type);
  /// A dataset's values; a view of the file where they lie there as they are. Two-byte opaque elements are bfloat16.
  /// May be called from several threads.
  Tensor read(const Dataset& dataset) const;

 private:
  const std::vector<Message>& messages(std::uint64_t address);
  /// Error{format} unless the file has room for what the dataset claims.
  void check_storage(Dataset& dataset);

  Source source_;
  std::span<std::uint8_t> writable_;  ///< the same bytes as source_.bytes
  std::shared_ptr<const void> owner_;
  std::uint64_t root_ = 0;
  std::unordered_map<std::uint64_t, Group> groups_;
  std::unordered_map<std::uint64_t, std::vector<Message>> messages_;
  std::unordered_map<std::uint64_t, GlobalHeap> heaps_;
};

// ---- the parts, each in a file of its own

/// All messages of an object header, continuations included, in file order.
std::vector<Message> read_object_header(Source& source, std::uint64_t address);

Dataspace parse_dataspace(Source& source, std::span<const std::uint8_t> data);
Type parse_type(Source& source, std::span<const std::uint8_t> data);
Layout parse_layout(Source& source, std::span<const std::uint8_t> data);
std::vector<Filter> parse_filters(Source& source, std::span<const std::uint8_t> data);
/// The default value's bytes; empty where it is zero. `old` is message type 4.
std::span<const std::uint8_t> parse_fill(Source& source, std::span<const std::uint8_t> data, bool old);
Attribute parse_attribute(Source& source, std::span<const std::uint8_t> data);
/// The message itself, or, where its flags say so, the one it refers to in another object header.
std::span<const std::uint8_t> resolve_shared(Source& source, const Message& message);

/// Adds the members that a symbol table, a link message or a link info message name.
void add_symbol_table(Source& source, std::span<const std::uint8_t> message, Group& group);
void add_link(Source& source, std::span<const std::uint8_t> message, Group& group);
void add_dense_links(Source& source, std::span<const std::uint8_t> message, Group& group);
/// Adds the attributes that an attribute info message keeps outside the header.
void add_dense_attributes(Source& source, std::span<const std::uint8_t> message, std::vector<Attribute>& attributes);

/// Calls `visit` for every chunk that is stored.
void for_each_chunk(Source& source, const Dataset& dataset, const std::function<void(const Chunk&)>& visit);
/// Bytes of a whole chunk before any filter.
std::uint64_t chunk_bytes(Source& source, const Dataset& dataset);
/// Undoes the filters: `stored` becomes exactly `bytes` bytes.
std::vector<std::uint8_t> undo_filters(Source& source, const Dataset& dataset, std::span<const std::uint8_t> stored,
                                       std::uint32_t filter_mask, std::uint64_t bytes);

}  // namespace fovea::weights::hdf5
