#include "core/graph/op_file.h"

#include <map>
#include <set>

#include "core/error.h"

namespace fovea {
namespace {

constexpr std::size_t kMaxOps = 64u << 20;  // bytes of op list text

void attach(OpRecords& list, const Safetensors& file, const std::string& path, std::string_view besides) {
  std::map<std::string_view, const Tensor*> held;
  for (const auto& [name, tensor] : file.tensors) held[name] = &tensor;
  std::string missing, misshapen, unexpected;
  std::set<std::string_view> used;
  for (OpRecords::Value& value : list.values) {
    if (value.kind != OpRecords::ValueKind::parameter) continue;
    const auto found = held.find(value.name);
    if (found == held.end()) {
      missing += str(missing.empty() ? "" : ", ", value.name);
    } else if (found->second->spec() != value.spec) {
      misshapen += str(misshapen.empty() ? "" : ", ", value.name, " (", found->second->shape(), ", expected ",
                       value.spec.shape, ")");
    } else {
      value.tensor = *found->second;
    }
    if (!used.insert(value.name).second)
      throw Error(ErrorKind::format, path, str("two values are named '", value.name, "'"));
  }
  for (const auto& [name, tensor] : file.tensors) {
    if (!used.contains(name) && name != besides) unexpected += str(unexpected.empty() ? "" : ", ", name);
  }
  if (missing.empty() && misshapen.empty() && unexpected.empty()) return;
  throw Error(
      ErrorKind::format, path,
      str("its tensors do not fit its op list:", missing.empty() ? "" : " missing ", missing,
          misshapen.empty() ? "" : " misshapen ", misshapen, unexpected.empty() ? "" : " unexpected ", unexpected));
}

}  // namespace

const std::string& model_field(const Safetensors& file, std::string_view key, const std::string& path) {
  const std::string* value = file.find_metadata(key);
  if (!value) {
    throw Error(ErrorKind::format, path,
                str("is a safetensors file but no fovea model: metadata '", key, "' is missing"),
                "weights of other frameworks need a network to go into");
  }
  return *value;
}

OpRecords read_op_records(const Safetensors& file, const std::string& path, std::string_view besides) {
  const std::string& version = model_field(file, "fovea.version", path);
  if (version != std::to_string(kModelFileVersion)) {
    throw Error(ErrorKind::format, path,
                str("is of version ", version.substr(0, 20), ", this program reads version ", kModelFileVersion));
  }
  const std::string& ops = model_field(file, "fovea.ops", path);
  if (ops.size() > kMaxOps) throw Error(ErrorKind::format, path, "its op list is implausibly long");
  OpRecords list = OpRecords::from_json(ops);
  attach(list, file, path, besides);
  return list;
}

}  // namespace fovea
