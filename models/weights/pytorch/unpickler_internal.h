// Reads a Python pickle as data. A pickle is a program for a stack machine that may call anything; this machine knows
// the opcodes that build values and calls nothing. Names resolve to a closed list (globals_internal.h), and what lies
// outside it becomes an inert object, so that a checkpoint with its arguments, optimizer and random state still loads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/weights/pytorch/globals_internal.h"

namespace fovea::weights::pytorch {

enum class Kind : std::uint8_t {
  none,
  boolean,
  integer,
  real,
  text,    ///< also Python 2's byte strings
  bytes,   ///< and bytearrays
  other,   ///< a value of no use here: an integer beyond 64 bits
  global,  ///< a name, never what it stands for
  tuple,
  list,
  set,
  dict,
  object,  ///< an instance of a global outside the closed list
  storage,
  tensor,
};

/// 16 bytes; texts stay in the pickle and containers in the Graph, so cycles and any depth cost nothing special.
struct Value {
  Kind kind = Kind::none;
  std::uint32_t length = 0;  // of text and bytes
  union {
    std::int64_t integer = 0;
    double real;
    const char* data;
    std::uint32_t index;  // into the Graph's table of this kind
  };

  bool is_text() const { return kind == Kind::text; }
  std::string_view text() const { return is_text() ? std::string_view(data, length) : std::string_view(); }
};

/// tuple, list, set: the elements. dict: keys and values in turn. object: what was set in it as in a dict.
struct Node {
  std::vector<Value> items;
  Value type;   // of an object: the global
  Value state;  // of an object: what BUILD gave it, usually a dict of attributes
};

/// torch's persistent id ('storage', type, key, location, elements[, view]).
struct StorageRecord {
  Element element = Element::unsupported;
  std::int64_t element_bytes = 1;
  std::string_view type_name;  ///< "FloatStorage"
  std::string_view key;
  std::int64_t numel = 0;
  std::string_view
      view_of;  // not empty: `numel` elements of storage `key` from `view_offset`, named so (torch 0.1 to 0.3)
  std::int64_t view_offset = 0;
  std::int64_t view_numel = 0;
};

struct TensorRecord {
  std::int64_t storage = -1;  // index, or -1 if there is none
  std::int64_t offset = 0;    // elements
  std::vector<std::int64_t> sizes, strides;
  Element element = Element::unsupported;
  std::string unsupported;  // why its values cannot be read, if they cannot
};

/// All that a pickle built.
struct Graph {
  std::vector<Node> nodes;
  std::vector<Global> globals;
  std::vector<StorageRecord> storages;
  std::vector<TensorRecord> tensors;

  const Node& node(const Value& v) const { return nodes[v.index]; }
  /// Keys and values of a dict, or of an object used as one; empty for anything else.
  std::span<const Value> entries(const Value& v) const;
  /// The attributes of an object; Kind::none if it has none.
  Value attributes(const Value& v) const;
  /// The value under a text key of entries(v); Kind::none if there is none.
  Value at(const Value& v, std::string_view key) const;
  /// The global that an object is an instance of; nullptr for anything else.
  const Global* type_of(const Value& v) const;
};

/// Runs one pickle that begins at `position` of `bytes` and leaves `position` behind its end. Error{format} for damage
/// and for opcodes outside the list, Error{memory} for a pickle that would build more than 64 MB of objects. The graph
/// refers to `bytes`.
Value unpickle(std::span<const std::uint8_t> bytes, std::size_t& position, Graph& graph, const std::string& where);

}  // namespace fovea::weights::pytorch
