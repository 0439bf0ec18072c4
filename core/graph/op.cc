#include "core/graph/op.h"

#include <map>
#include <mutex>
#include <string>

namespace fovea {

Op::~Op() = default;

void Op::backward(BackwardContext&) const {
  throw Error(ErrorKind::usage, type(), "this operation has no gradient",
              "use it outside a tape or on inputs that need none");
}

std::int64_t Op::macs(std::span<const TensorSpec>, std::span<const TensorSpec>) const { return 0; }

namespace {
struct Factories {
  std::mutex mutex;
  std::map<std::string, OpFactory, std::less<>> by_type;
};
Factories& factories() {
  static auto* made = new Factories;
  return *made;
}
}  // namespace

void register_op(std::string_view type, OpFactory factory) {
  const std::lock_guard lock(factories().mutex);
  factories().by_type.insert_or_assign(std::string(type), factory);
}

std::vector<std::string> registered_ops() {
  const std::lock_guard lock(factories().mutex);
  std::vector<std::string> types;
  for (const auto& [type, factory] : factories().by_type) types.push_back(type);
  return types;
}

OpPtr make_op(std::string_view type, const Attributes& attributes) {
  OpFactory factory = nullptr;
  {
    const std::lock_guard lock(factories().mutex);
    const auto found = factories().by_type.find(type);
    if (found != factories().by_type.end()) factory = found->second;
  }
  if (!factory) {
    throw Error(ErrorKind::format, "model", str("operation '", type, "' is unknown to this version of fovea"),
                "the file may be from a newer version");
  }
  return factory(attributes);
}

}  // namespace fovea
