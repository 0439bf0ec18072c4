#include "layers/module.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/graph/op_list.h"

namespace fovea {

Module::Module() = default;
Module::~Module() = default;
Module::Module(Module&&) noexcept = default;
Module& Module::operator=(Module&&) noexcept = default;

Tensor Module::operator()(const Tensor& x) {
  const NameScope scope(name_);
  return forward(x);
}

// ------------------------------------------------------------------------------------------------------------- the
// tree

/// Visits modules before their children, in order of registration, without recursion.
struct Module::Walk {
  template <class Fn>  // fn(module, path)
  static void modules(Module& root, Fn&& fn) {
    std::vector<std::pair<Module*, std::string>> open{{&root, ""}};
    while (!open.empty()) {
      auto [module, path] = std::move(open.back());
      open.pop_back();
      fn(*module, static_cast<const std::string&>(path));
      for (auto child = module->children_.rbegin(); child != module->children_.rend(); ++child) {
        open.emplace_back(child->second.get(), join(path, child->first));
      }
    }
  }

  template <class Fn>  // fn(own, full name), also for tensors that were visited under another name
  static void tensors(Module& root, Fn&& fn) {
    modules(root, [&](Module& module, const std::string& path) {
      for (Own& own : module.own_) fn(own, join(path, own.name));
    });
  }

  static std::string join(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "." + name;
  }
};

namespace {

/// '*' any text, '?' one character.
bool glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.find_first_of("*?") != std::string_view::npos) return glob(pattern, name);
  return name.starts_with(pattern) && (name.size() == pattern.size() || name[pattern.size()] == '.');
}

/// Levenshtein distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

/// The candidate most like `name`, or nothing where none is near (half of its characters at most differ).
std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t least = name.size() / 2 + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t d = distance(name, candidate);
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string near = nearest(name, candidates);
  return near.empty() ? std::string() : str("did you mean '", near, "'?");
}

}  // namespace

std::vector<NamedTensor> Module::named_tensors() const {
  std::vector<NamedTensor> out;
  std::unordered_set<const void*> seen;
  Walk::tensors(const_cast<Module&>(*this), [&](const Own& own, std::string name) {
    if (seen.insert(own.tensor.identity()).second)
      out.push_back({std::move(name), own.tensor, own.is_buffer, own.role});
  });
  return out;
}

std::vector<NamedTensor> Module::parameters(bool trainable) const {
  std::vector<NamedTensor> out = named_tensors();
  std::erase_if(out, [&](const NamedTensor& t) { return t.is_buffer || (trainable && !t.tensor.requires_grad()); });
  return out;
}

std::vector<NamedTensor> Module::buffers() const {
  std::vector<NamedTensor> out = named_tensors();
  std::erase_if(out, [](const NamedTensor& t) { return !t.is_buffer; });
  return out;
}

Tensor Module::tensor(std::string_view name) const {
  Tensor found;
  std::vector<std::string> names;
  Walk::tensors(const_cast<Module&>(*this), [&](const Own& own, const std::string& full) {
    if (full == name) found = own.tensor;
    names.push_back(full);
  });
  if (!found.defined())
    throw Error(ErrorKind::usage, kind(), str("there is no tensor '", name, "'"), did_you_mean(name, names));
  return found;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const NamedTensor& t : parameters()) count += t.tensor.numel();
  return count;
}

void Module::zero_grad() {
  Walk::tensors(*this, [](Own& own, const std::string&) { own.tensor.zero_grad(); });
}

void Module::initialize(std::uint64_t seed) {
  std::unordered_set<const void*> seen;
  Walk::tensors(*this, [&](Own& own, const std::string& name) {
    if (own.init && seen.insert(own.tensor.identity()).second)
      fovea::initialize(own.tensor, *own.init, Rng(seed, name));
  });
}

// ---------------------------------------------------------------------------------------------------------
// registration

void Module::check_name(const std::string& name) const {
  if (name.empty() || name.find_first_of(".*?") != std::string::npos) {
    throw Error(ErrorKind::usage, kind(),
                str("'", name, "' cannot be a name: it is empty or has one of the characters . * ?"));
  }
  const bool taken =
      std::any_of(own_.begin(), own_.end(), [&](const Own& own) { return own.name == name; }) ||
      std::any_of(children_.begin(), children_.end(), [&](const auto& child) { return child.first == name; });
  if (taken) throw Error(ErrorKind::usage, kind(), str("the name '", name, "' is taken"));
}

Tensor Module::add_own(Own own) {
  check_name(own.name);
  if (!own.tensor.defined()) throw Error(ErrorKind::usage, kind(), str("tensor '", own.name, "' is undefined"));
  if (!own.is_buffer) own.tensor.set_requires_grad();
  own_.push_back(std::move(own));
  return own_.back().tensor;
}

Tensor Module::register_parameter(std::string name, Tensor init, ParameterRole role) {
  return add_own({std::move(name), std::move(init), false, role});
}

Tensor Module::register_parameter(std::string name, const Shape& shape, const Initializer& init, ParameterRole role) {
  static thread_local std::uint64_t serial = 0;
  Tensor tensor(shape, DType::f32, ParameterMode::current() == ParameterMode::Kind::meta ? kMeta : kCpu);
  if (ParameterMode::current() == ParameterMode::Kind::initialized)
    fovea::initialize(tensor, init, Rng(0, "parameter", serial++));
  return add_own({std::move(name), std::move(tensor), false, role, init});
}

Tensor Module::register_buffer(std::string name, Tensor init) {
  return add_own({std::move(name), std::move(init), true});
}

Tensor Module::register_buffer(std::string name, const Shape& shape, double value) {
  const bool meta = ParameterMode::current() == ParameterMode::Kind::meta;
  Tensor tensor = meta ? Tensor(shape, DType::f32, kMeta) : Tensor::full(shape, value);
  return add_own({std::move(name), std::move(tensor), true, ParameterRole::norm, init::constant(value)});
}

ModulePtr Module::register_module(std::string name, ModulePtr child) {
  check_name(name);
  if (!child) throw Error(ErrorKind::usage, kind(), str("module '", name, "' is null"));
  Walk::modules(*child, [&](Module& module, const std::string&) {
    if (&module == this)
      throw Error(ErrorKind::usage, kind(), str("module '", name, "' contains the module it is to be put into"));
  });
  child->name_ = name;
  children_.emplace_back(std::move(name), child);
  return child;
}

Tensor Module::own(std::string_view name) const {
  for (const Own& own : own_) {
    if (own.name == name) return own.tensor;
  }
  throw Error(ErrorKind::usage, kind(), str("no tensor '", name, "' is registered"));
}

// ---------------------------------------------------------------------------------------------------------------
// freeze

int Module::set_frozen(std::string_view pattern, bool frozen) {
  int count = 0;
  std::vector<std::string> names;
  Walk::modules(*this, [&](Module& module, const std::string& path) {
    bool parameters = false, all_frozen = true, buffer_matched = false;
    int buffers = 0;
    for (Own& own : module.own_) {
      names.push_back(Walk::join(path, own.name));
      const bool matched = matches(pattern, names.back());
      if (own.is_buffer) {
        buffer_matched |= matched;
        buffers += matched;
        continue;
      }
      parameters = true;
      if (matched) {
        own.tensor.set_requires_grad(!frozen);
        ++count;
      }
      all_frozen &= !own.tensor.requires_grad();
    }
    if (parameters) {
      module.frozen_ = all_frozen;
    } else if (buffer_matched) {
      // A batch norm without scale and shift is frozen by way of its running statistics.
      module.frozen_ = frozen;
      count += buffers;
    }
  });
  if (count == 0) {
    for (const auto& [name, child] : children_) names.push_back(name);
    throw Error(ErrorKind::usage, frozen ? "freeze" : "unfreeze", str("no parameter matches '", pattern, "'"),
                did_you_mean(pattern, names));
  }
  return count;
}

int Module::freeze(std::string_view pattern) { return set_frozen(pattern, true); }
int Module::unfreeze(std::string_view pattern) { return set_frozen(pattern, false); }

void Module::freeze_until(std::string_view child) {
  // First make sure that the path exists, so that nothing is frozen on an error.
  std::vector<Module*> before;
  Module* level = this;
  std::string_view rest = child;
  for (;;) {
    const std::string_view head = rest.substr(0, rest.find('.'));
    ModulePtr next;
    std::vector<std::string> names;
    for (const auto& [name, module] : level->children_) {
      names.push_back(name);
      if (name == head) {
        next = module;
        break;
      }
      before.push_back(module.get());
    }
    if (!next)
      throw Error(ErrorKind::usage, "freeze_until", str("there is no module '", child, "'"), did_you_mean(head, names));
    if (head.size() == rest.size()) break;
    level = next.get();
    rest.remove_prefix(head.size() + 1);
  }
  for (Module* module : before) {
    if (!module->named_tensors().empty()) module->freeze();
  }
}

// ------------------------------------------------------------------------------------------------------- loading,
// moving

void Module::load(const std::vector<NamedTensor>& tensors) {
  const std::vector<NamedTensor> own = named_tensors();
  std::unordered_map<std::string_view, const NamedTensor*> given;
  std::vector<std::string> twice;
  for (const NamedTensor& t : tensors) {
    if (!given.emplace(t.name, &t).second) twice.push_back(t.name);
  }
  // A shared tensor may come under any of its names; under several of them is fine too.
  std::unordered_map<const void*, std::vector<std::string>> names;
  Walk::tensors(*this, [&](const Own& o, const std::string& name) { names[o.tensor.identity()].push_back(name); });

  std::vector<std::pair<Tensor, Tensor>> copies;
  std::vector<std::string> missing, misshapen, unexpected;
  std::unordered_set<std::string_view> used;
  for (const NamedTensor& target : own) {
    const NamedTensor* source = nullptr;
    for (const std::string& name : names[target.tensor.identity()]) {
      const auto found = given.find(name);
      if (found == given.end()) continue;
      used.insert(found->first);
      if (!source) source = found->second;
    }
    if (!source) {
      missing.push_back(target.name);
    } else if (!source->tensor.defined() || source->tensor.shape() != target.tensor.shape()) {
      misshapen.push_back(str(target.name, " (model ", target.tensor.shape(), ", given ",
                              source->tensor.defined() ? source->tensor.shape().to_string() : "nothing", ")"));
    } else {
      copies.emplace_back(target.tensor, source->tensor);
    }
  }
  for (const NamedTensor& t : tensors) {
    if (!used.contains(t.name)) unexpected.push_back(t.name);
  }
  if (!missing.empty() || !misshapen.empty() || !unexpected.empty() || !twice.empty()) {
    std::string text = "the tensors are not this model's";
    const auto list = [&](const char* what, const std::vector<std::string>& items) {
      if (items.empty()) return;
      text += str("; ", items.size(), " ", what, ": ");
      for (std::size_t i = 0; i < items.size(); ++i) text += str(i == 0 ? "" : ", ", items[i]);
    };
    list("missing", missing);
    list("unexpected", unexpected);
    list("of another shape", misshapen);
    list("given twice", twice);
    std::string hint;
    // Comparing all with all would take minutes for two unlike networks of a thousand tensors.
    constexpr std::size_t kSuggestions = 5;
    for (std::size_t i = 0, made = 0; i < missing.size() && i < 20 && made < kSuggestions; ++i) {
      const std::string near = nearest(missing[i], unexpected);
      if (near.empty()) continue;
      hint += str(hint.empty() ? "" : ", ", "'", near, "' may be '", missing[i], "'");
      ++made;
    }
    throw Error(ErrorKind::format, "load", text, hint);
  }
  for (auto& [to, from] : copies) to.copy_from(from.to(to.dtype()));
}

template <class Fn>
void Module::replace_tensors(Fn&& replacement) {
  std::unordered_map<const void*, Tensor> replaced;  // shared tensors stay shared
  std::vector<Tensor> old;                           // keeps identities from being reused
  Walk::tensors(*this, [&](Own& own, const std::string&) {
    const auto [entry, added] = replaced.try_emplace(own.tensor.identity());
    if (added) {
      old.push_back(own.tensor);
      entry->second = replacement(own.tensor);
      if (!entry->second.is(own.tensor)) entry->second.set_requires_grad(own.tensor.requires_grad());
    }
    own.tensor = entry->second;
  });
}

void Module::to(Device device) {
  replace_tensors([&](const Tensor& t) { return t.to(device); });
}

void Module::to(DType dtype) {
  if (!is_floating(dtype))
    throw Error(ErrorKind::usage, kind(), str("parameters are floating, not ", to_string(dtype)));
  replace_tensors([&](const Tensor& t) { return is_floating(t.dtype()) ? t.to(dtype) : t; });
}

}  // namespace fovea
