#include "models/weights/pytorch/state_dict_internal.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_set>

#include "core/error.h"

namespace fovea::weights::pytorch {
namespace {

constexpr std::array<std::string_view, 8> kWrappers = {"state_dict_ema",   "model_ema", "ema", "state_dict",
                                                       "model_state_dict", "model",     "net", "module"};
constexpr std::size_t kMaxNesting = 8;        // wrappers within wrappers
constexpr std::size_t kMaxModuleDepth = 64;   // modules within modules
constexpr std::size_t kMaxNames = 16u << 20;  // bytes of all names together: a module may contain itself
constexpr const char* kHint = "save the weights alone: torch.save(model.state_dict(), path)";

std::string spelled(const Global& type) {
  constexpr std::size_t kMost = 120;  // names have no bound in a hostile file
  return str(type.module.substr(0, kMost), ".", type.name.substr(0, kMost));
}

struct Found {
  std::string name;
  std::uint32_t tensor;
};

class Search {
 public:
  Search(const Graph& graph, const std::string& where) : graph_(graph), where_(where) {}

  std::vector<Found> run(Value at, std::vector<std::pair<std::string, std::string>>& metadata) {
    std::string wrapper;
    for (std::size_t depth = 0; depth <= kMaxNesting; ++depth) {
      if (is_module(at)) {
        const Global& type = *graph_.type_of(at);
        metadata.emplace_back("pytorch.module", spelled(type));
        walk(at);
        break;
      }
      const Step next = inner(at);
      if (next.key.empty()) {
        plain(at);
        break;
      }
      if (!wrapper.empty()) wrapper += '.';
      wrapper += next.key;
      at = next.value;
    }
    if (!wrapper.empty()) metadata.emplace_back("pytorch.wrapper", wrapper);
    if (found_.empty()) nothing_found(at);
    return std::move(found_);
  }

 private:
  struct Step {
    std::string_view key;  // empty: the tensors are here
    Value value;
  };

  bool is_script(const Value& v) const {
    const Global* type = graph_.type_of(v);
    return type && type->module.starts_with("__torch__");
  }
  /// A torch.nn.Module, by what it is made of, or a module of TorchScript, whose attributes are its tensors and
  /// modules.
  bool is_module(const Value& v) const {
    if (!graph_.type_of(v)) return false;
    const Value attributes = graph_.attributes(v);
    if (attributes.kind != Kind::dict) return false;
    return is_script(v) || (graph_.at(attributes, "_modules").kind == Kind::dict &&
                            graph_.at(attributes, "_parameters").kind == Kind::dict);
  }
  bool has_tensors(const Value& v) const {
    const std::span<const Value> items = graph_.entries(v);
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i].is_text() && items[i + 1].kind == Kind::tensor) return true;
    }
    return false;
  }
  bool holds(const Value& v) const {
    if (is_module(v) || has_tensors(v)) return true;
    return std::any_of(kWrappers.begin(), kWrappers.end(), [&](std::string_view key) {
      const Value inside = graph_.at(v, key);
      return is_module(inside) || has_tensors(inside);
    });
  }

  Step inner(const Value& v) const {
    for (const std::string_view key : kWrappers) {
      const Value value = graph_.at(v, key);
      if (holds(value)) return {key, value};
    }
    if (has_tensors(v)) return {};
    std::vector<Step> candidates;
    const std::span<const Value> items = graph_.entries(v);
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i].is_text() && !items[i].text().empty() && holds(items[i + 1])) {
        candidates.push_back({items[i].text(), items[i + 1]});
        if (candidates.size() > 8) break;
      }
    }
    if (candidates.empty()) return {};
    if (candidates.size() == 1) return candidates[0];
    std::string names;
    for (const Step& one : candidates) names += str(names.empty() ? "'" : ", '", one.key, "'");
    throw Error(ErrorKind::format, where_, str("several entries hold tensors: ", names, "; which are the weights?"),
                kHint);
  }

  void add(std::string name, const Value& tensor) {
    names_size_ += name.size() + sizeof(Found);
    if (names_size_ > kMaxNames) {
      throw Error(ErrorKind::memory, where_, str("its tensors' names take more than ", kMaxNames >> 20, " MB"), kHint);
    }
    found_.push_back({std::move(name), tensor.index});
  }
  void plain(const Value& v) {
    const std::span<const Value> items = graph_.entries(v);
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i].is_text() && items[i + 1].kind == Kind::tensor) add(std::string(items[i].text()), items[i + 1]);
    }
  }

  struct Visit {
    std::string prefix;
    Value module;
    std::size_t depth;
  };
  void walk(const Value& root) {
    std::vector<Visit> stack{{"", root, 0}};
    while (!stack.empty()) {
      const Visit visit = std::move(stack.back());
      stack.pop_back();
      // Costs something even without tensors, because modules may share modules 2^depth times.
      names_size_ += visit.prefix.size() + sizeof(Visit);
      if (visit.depth > kMaxModuleDepth || names_size_ > kMaxNames) {
        throw Error(ErrorKind::format, where_, "its modules contain themselves, or are nested without end", kHint);
      }
      const Value attributes = graph_.attributes(visit.module);
      std::vector<Visit> children;
      const auto each = [&](const Value& dict, const auto& use) {
        const std::span<const Value> items = graph_.entries(dict);
        for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
          if (items[i].is_text()) use(items[i].text(), items[i + 1]);
        }
      };
      const auto tensor = [&](std::string_view key, const Value& value) {
        if (value.kind == Kind::tensor) add(str(visit.prefix, key), value);
      };
      const auto module = [&](std::string_view key, const Value& value) {
        if (is_module(value)) children.push_back({str(visit.prefix, key, "."), value, visit.depth + 1});
      };
      if (is_script(visit.module)) {
        each(attributes, tensor);
        each(attributes, module);
      } else {
        each(graph_.at(attributes, "_parameters"), tensor);
        const Value passing = graph_.at(attributes, "_non_persistent_buffers_set");
        std::unordered_set<std::string_view> left_out;
        if (passing.kind == Kind::set) {
          for (const Value& name : graph_.node(passing).items) left_out.insert(name.text());
        }
        each(graph_.at(attributes, "_buffers"), [&](std::string_view key, const Value& value) {
          if (!left_out.contains(key)) tensor(key, value);
        });
        each(graph_.at(attributes, "_modules"), module);
      }
      std::move(children.rbegin(), children.rend(), std::back_inserter(stack));
    }
  }

  [[noreturn]] void nothing_found(const Value& v) const {
    std::string what = "something else";
    if (v.kind == Kind::tensor) {
      what = "a single tensor";
    } else if (const Global* type = graph_.type_of(v)) {
      what = str("an object of the class ", spelled(*type));
    } else if (v.kind == Kind::list || v.kind == Kind::tuple) {
      what = str("a list of ", graph_.node(v).items.size());
    } else if (v.kind == Kind::dict) {
      const std::span<const Value> items = graph_.entries(v);
      what = str("a dict of ", items.size() / 2, " entries");
      std::string keys;
      for (std::size_t i = 0; i < items.size() && i < 16; i += 2) {
        if (items[i].is_text()) keys += str(keys.empty() ? "" : ", ", items[i].text().substr(0, 40));
      }
      if (!keys.empty()) what += str(" (", keys, items.size() > 16 ? ", ..." : "", ")");
    }
    throw Error(ErrorKind::format, where_, str("expected a dict of named tensors, it holds ", what), kHint);
  }

  const Graph& graph_;
  const std::string& where_;
  std::vector<Found> found_;
  std::size_t names_size_ = 0;
};

/// Takes the prefixes off that all names share, and says which.
std::string strip_prefixes(std::vector<Found>& found, const Graph& graph) {
  std::string stripped;
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view prefix : {"module.", "_orig_mod."}) {
      const auto has = [&](const Found& f) { return f.name.size() > prefix.size() && f.name.starts_with(prefix); };
      // torch.optim.swa_utils.AveragedModel counts its updates beside the module.
      const auto is_counter = [&](const Found& f) {
        return prefix == "module." && f.name == "n_averaged" && graph.tensors[f.tensor].sizes.empty();
      };
      if (std::none_of(found.begin(), found.end(), has)) continue;
      if (!std::all_of(found.begin(), found.end(), [&](const Found& f) { return has(f) || is_counter(f); })) continue;
      std::erase_if(found, is_counter);
      for (Found& f : found) f.name.erase(0, prefix.size());
      stripped += prefix;
      again = true;
    }
  }
  return stripped;
}

}  // namespace

void collect_state_dict(const Graph& graph, const Value& root, TensorMaker& maker, const std::string& where,
                        WeightFile& file) {
  std::vector<Found> found = Search(graph, where).run(root, file.metadata);
  const std::string prefix = strip_prefixes(found, graph);
  if (!prefix.empty()) file.metadata.emplace_back("pytorch.prefix", prefix);
  std::unordered_set<std::string_view> names;
  file.tensors.reserve(found.size());
  for (const Found& one : found) {
    if (!names.insert(one.name).second) {
      throw Error(ErrorKind::format, where, str("the name '", one.name, "' occurs twice"));
    }
    file.tensors.push_back(maker.make(one.name, graph.tensors[one.tensor]));
  }
}

}  // namespace fovea::weights::pytorch
