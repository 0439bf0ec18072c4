// What the opcodes of a pickle build: containers, objects, storages and tensors, within a bound.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/weights/pytorch/unpickler_internal.h"

namespace fovea::weights::pytorch {

class Builder {
 public:
  Builder(Graph& graph, const std::string& where) : graph_(graph), where_(where) {}

  /// The opcode that errors name.
  void at(std::size_t position) { position_ = position; }
  [[noreturn]] void damaged(const std::string& what) const;
  /// Counts memory against the bound; Error{memory} beyond it.
  void charge(std::size_t bytes);

  Value container(Kind kind, std::span<const Value> items = {});
  Value dict(std::span<const Value> keys_and_values);
  Value object(const Value& type);
  Value global(std::string_view module, std::string_view name);
  void append(const Value& target, std::span<const Value> items);
  void set_items(const Value& target, std::span<const Value> keys_and_values);
  /// What `type(*arguments)` without its __init__ would be.
  Value instance(const Value& type, const Value& arguments);
  /// What `function(*arguments)` would be, for the functions of the closed list; an inert object for any other.
  Value call(const Value& function, const Value& arguments);
  void build(const Value& target, const Value& state);
  Value persistent(const Value& id);

 private:
  template <class Record>
  Value add(Kind kind, std::vector<Record>& table, Record record) {
    charge(sizeof(Record));
    Value v;
    v.kind = kind;
    v.index = static_cast<std::uint32_t>(table.size());
    table.push_back(std::move(record));
    return v;
  }
  void extend(const Value& target, std::span<const Value> items);
  /// A copy, because what is made from it may move the table of nodes.
  std::vector<Value> copy(const Value& container) const { return graph_.node(container).items; }
  const std::vector<Value>& arguments_of(const Value& arguments) const;
  Value known_call(const Global& global, std::span<const Value> arguments);
  Value mapping(const Global& global, std::span<const Value> arguments);
  Value tensor(std::span<const Value> arguments, const Global& function);
  bool extents(const Value& v, std::vector<std::int64_t>& out) const;

  Graph& graph_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::size_t charged_ = 0;
};

}  // namespace fovea::weights::pytorch
