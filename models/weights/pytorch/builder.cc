#include "models/weights/pytorch/builder_internal.h"

#include "core/error.h"

namespace fovea::weights::pytorch {

std::span<const Value> Graph::entries(const Value& v) const {
  if (v.kind != Kind::dict && v.kind != Kind::object) return {};
  return node(v).items;
}

Value Graph::attributes(const Value& v) const {
  if (v.kind != Kind::object) return {};
  const Value& state = node(v).state;
  // Classes with __slots__ give a pair (dict, slots).
  if (state.kind == Kind::tuple && !node(state).items.empty()) return node(state).items[0];
  return state;
}

Value Graph::at(const Value& v, std::string_view key) const {
  const std::span<const Value> items = entries(v);
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].is_text() && items[i].text() == key) return items[i + 1];
  }
  return {};
}

const Global* Graph::type_of(const Value& v) const {
  if (v.kind != Kind::object) return nullptr;
  const Value& type = node(v).type;
  return type.kind == Kind::global ? &globals[type.index] : nullptr;
}

namespace {
constexpr std::size_t kMaxObjects = 64u << 20;  // bytes; a MobileNetV2 needs 1 MB, a checkpoint with its optimizer 3
constexpr std::size_t kMaxArguments = 64;       // also torch's own limit of a tensor's dimensions
}  // namespace

void Builder::damaged(const std::string& what) const {
  throw Error(ErrorKind::format, where_, str("damaged pickle at byte ", position_, ": ", what));
}

void Builder::charge(std::size_t bytes) {
  charged_ += bytes;
  if (charged_ > kMaxObjects) {
    throw Error(ErrorKind::memory, where_, str("its pickle builds more than ", kMaxObjects >> 20, " MB of objects"),
                "weights alone need a few; save the state_dict without what else the checkpoint holds");
  }
}

Value Builder::container(Kind kind, std::span<const Value> items) {
  charge(items.size_bytes());
  Node node;
  node.items.assign(items.begin(), items.end());
  return add(kind, graph_.nodes, std::move(node));
}

Value Builder::dict(std::span<const Value> items) {
  if (items.size() % 2 != 0) damaged("a key without a value");
  return container(Kind::dict, items);
}

Value Builder::object(const Value& type) {
  Node node;
  node.type = type;
  return add(Kind::object, graph_.nodes, std::move(node));
}

Value Builder::global(std::string_view module, std::string_view name) {
  return add(Kind::global, graph_.globals, resolve_global(module, name));
}

void Builder::extend(const Value& target, std::span<const Value> items) {
  charge(2 * items.size_bytes());  // vectors grow by doubling
  std::vector<Value>& to = graph_.nodes[target.index].items;
  to.insert(to.end(), items.begin(), items.end());
}

void Builder::append(const Value& target, std::span<const Value> items) {
  if (target.kind == Kind::list || target.kind == Kind::set) return extend(target, items);
  if (target.kind != Kind::object) damaged("it appends to what is no list");
}

void Builder::set_items(const Value& target, std::span<const Value> items) {
  if (items.size() % 2 != 0) damaged("a key without a value");
  if (target.kind != Kind::dict && target.kind != Kind::object) damaged("it sets an item of what is no dict");
  extend(target, items);
}

const std::vector<Value>& Builder::arguments_of(const Value& arguments) const {
  if (arguments.kind != Kind::tuple) damaged("arguments that are no tuple");
  return graph_.node(arguments).items;
}

Value Builder::instance(const Value& type, const Value& arguments) {
  const std::size_t count = arguments_of(arguments).size();
  if (type.kind == Kind::global && count <= kMaxArguments) {
    const Global global = graph_.globals[type.index];
    if (global.known == Known::dict || global.known == Known::set || global.known == Known::tuple)
      return known_call(global, copy(arguments));
  }
  return object(type);
}

Value Builder::call(const Value& function, const Value& arguments) {
  const std::size_t count = arguments_of(arguments).size();
  if (function.kind != Kind::global && function.kind != Kind::object) damaged("it calls what is no function");
  if (function.kind == Kind::global) {
    const Global global = graph_.globals[function.index];
    if (global.known != Known::nothing && global.known != Known::storage_type && global.known != Known::dtype) {
      if (count > kMaxArguments) damaged(str(global.name, " with ", count, " arguments"));
      return known_call(global, copy(arguments));
    }
  }
  return object(function);
}

Value Builder::known_call(const Global& global, std::span<const Value> arguments) {
  const auto need = [&](std::size_t count) {
    if (arguments.size() < count) {
      damaged(str(global.name, " with ", arguments.size(), " arguments, ", count, " are needed"));
    }
  };
  switch (global.known) {
    case Known::dict: return mapping(global, arguments);
    case Known::set:
    case Known::tuple: {
      const Kind kind = global.known == Known::set ? Kind::set : Kind::tuple;
      if (kind == Kind::set && arguments.empty()) return container(kind);
      need(1);
      if (arguments[0].kind != Kind::tuple && arguments[0].kind != Kind::list) {
        damaged(str(global.name, " of what is no list"));
      }
      return container(kind, copy(arguments[0]));
    }
    case Known::rebuild_parameter: need(1); return arguments[0];
    case Known::rebuild_from_type: {
      need(3);
      if (arguments[0].kind != Kind::global) damaged("a tensor made by no function");
      const Global inner = graph_.globals[arguments[0].index];
      const std::size_t count = arguments_of(arguments[2]).size();
      if (inner.known == Known::rebuild_from_type || count > kMaxArguments) damaged("a tensor type within another");
      return inner.known == Known::nothing ? object(arguments[0]) : known_call(inner, copy(arguments[2]));
    }
    case Known::rebuild_tensor:
    case Known::rebuild_quantized: need(4); return tensor(arguments, global);
    case Known::rebuild_tensor_v3: need(7); return tensor(arguments, global);
    case Known::rebuild_unsupported: return tensor({}, global);
    case Known::storage_type:
    case Known::dtype:
    case Known::nothing: break;
  }
  return object(Value());
}

/// OrderedDict() and, of Python 2, OrderedDict([[key, value], ...]); defaultdict(list, {...}).
Value Builder::mapping(const Global& global, std::span<const Value> arguments) {
  const Value made = container(Kind::dict);
  for (const Value& source : arguments) {
    if (source.kind == Kind::dict) extend(made, copy(source));
    if (source.kind != Kind::list) continue;
    charge(graph_.node(source).items.size() * sizeof(Value));
    for (const Value& pair : copy(source)) {
      const bool container = pair.kind == Kind::list || pair.kind == Kind::tuple;
      if (!container || graph_.node(pair).items.size() != 2) damaged(str(global.name, " of what are no pairs"));
      extend(made, copy(pair));
    }
  }
  return made;
}

bool Builder::extents(const Value& v, std::vector<std::int64_t>& out) const {
  if (v.kind != Kind::tuple && v.kind != Kind::list) return false;
  const std::vector<Value>& items = graph_.node(v).items;
  if (items.size() > kMaxArguments) return false;
  for (const Value& item : items) {
    if (item.kind != Kind::integer || item.integer < 0) return false;
    out.push_back(item.integer);
  }
  return true;
}

Value Builder::tensor(std::span<const Value> arguments, const Global& function) {
  TensorRecord record;
  if (function.known == Known::rebuild_unsupported) {
    record.unsupported = str("is made by ", function.name, ", which keeps no plain values");
    charge(record.unsupported.size());
    return add(Kind::tensor, graph_.tensors, std::move(record));
  }
  if (arguments[1].kind != Kind::integer || arguments[1].integer < 0) {
    damaged("a tensor whose storage offset is no natural number");
  }
  record.offset = arguments[1].integer;
  if (!extents(arguments[2], record.sizes) || !extents(arguments[3], record.strides)) {
    damaged("a tensor whose sizes or strides are no natural numbers");
  }
  if (record.sizes.size() != record.strides.size()) {
    damaged(str("a tensor with ", record.sizes.size(), " sizes and ", record.strides.size(), " strides"));
  }
  charge((record.sizes.size() + record.strides.size()) * sizeof(std::int64_t));
  if (arguments[0].kind == Kind::storage) {
    record.storage = arguments[0].index;
    const StorageRecord& storage = graph_.storages[arguments[0].index];
    record.element = storage.element;
    if (storage.element == Element::unsupported) {
      record.unsupported = str("has elements of torch.", storage.type_name);
    }
  } else if (arguments[0].kind == Kind::object) {
    record.unsupported = "has its values in a pickle of their own: written by pickle, not by torch.save";
  } else {
    damaged("a tensor without a storage");
  }
  if (function.known == Known::rebuild_quantized) record.unsupported = "is quantized";
  if (function.known == Known::rebuild_tensor_v3) {
    if (arguments[6].kind != Kind::global || graph_.globals[arguments[6].index].known != Known::dtype) {
      damaged("a tensor whose element type is none of torch's");
    }
    const Global& dtype = graph_.globals[arguments[6].index];
    record.element = dtype.element;
    if (dtype.element == Element::unsupported) record.unsupported = str("has elements of torch.", dtype.name);
  } else if (record.element == Element::untyped && record.unsupported.empty()) {
    damaged("a tensor without an element type");
  }
  charge(record.unsupported.size());
  return add(Kind::tensor, graph_.tensors, std::move(record));
}

void Builder::build(const Value& target, const Value& state) {
  if (target.kind == Kind::object) graph_.nodes[target.index].state = state;
  // An OrderedDict's _metadata and a Parameter's attributes are of no use here.
}

Value Builder::persistent(const Value& id) {
  if (id.kind != Kind::tuple) damaged("a persistent id that is no tuple");
  const std::vector<Value>& part = graph_.node(id).items;
  if (part.size() >= 2 && part[0].text() == "module") return part[1];  // a class with its source text: torch before 1.6
  if (part.size() < 5 || part[0].text() != "storage") damaged("a persistent id that is no storage");
  StorageRecord record;
  if (part[1].kind != Kind::global || graph_.globals[part[1].index].known != Known::storage_type) {
    damaged("a storage whose type is none of torch's");
  }
  const Global& type = graph_.globals[part[1].index];
  record.element = type.element;
  record.element_bytes = type.element_bytes;
  record.type_name = type.name;
  if (!part[2].is_text()) damaged("a storage without a key");
  record.key = part[2].text();
  if (part[4].kind != Kind::integer || part[4].integer < 0) damaged("a storage whose size is no natural number");
  record.numel = part[4].integer;
  if (part.size() > 5 && part[5].kind != Kind::none) {
    const std::span<const Value> view =
        part[5].kind == Kind::tuple ? graph_.node(part[5]).items : std::span<const Value>();
    if (view.size() != 3 || !view[0].is_text() || view[1].kind != Kind::integer || view[2].kind != Kind::integer ||
        view[1].integer < 0 || view[2].integer < 0 || view[1].integer > record.numel ||
        view[2].integer > record.numel - view[1].integer) {
      damaged("a storage view that does not lie in its storage");
    }
    record.view_of = record.key;
    record.view_offset = view[1].integer;
    record.view_numel = view[2].integer;
  }
  return add(Kind::storage, graph_.storages, record);
}

}  // namespace fovea::weights::pytorch
