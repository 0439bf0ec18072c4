#include "core/graph/host_fallback.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace fovea {
namespace {

thread_local bool allowed_here = false;
std::atomic<std::int64_t> ran{0};

Tensor moved(const Tensor& t, Device device) { return t.defined() ? t.to(device) : t; }
std::vector<Tensor> moved(std::span<const Tensor> tensors, Device device) {
  std::vector<Tensor> there;
  for (const Tensor& t : tensors) there.push_back(moved(t, device));
  return there;
}

void tell(const Op& op, const char* pass, Device device, const NoImplementation& why) {
  ran.fetch_add(1, std::memory_order_relaxed);
  static const bool verbose = [] {
    const char* const value = std::getenv("FOVEA_VERBOSE");
    return value && *value && std::string_view(value) != "0";
  }();
  if (verbose) {
    std::fprintf(stderr, "fovea: %s %s of %s -> by the CPU: %s has no implementation there\n",
                 std::string(op.type()).c_str(), pass, device.to_string().c_str(), why.where().c_str());
  }
}

}  // namespace

AllowHostFallback::AllowHostFallback(bool allow) : outer_(allowed_here) { allowed_here = allow; }
AllowHostFallback::~AllowHostFallback() { allowed_here = outer_; }
bool AllowHostFallback::allowed() { return allowed_here; }
std::int64_t AllowHostFallback::count() { return ran.load(std::memory_order_relaxed); }

NoImplementation::~NoImplementation() = default;

void detail::forward_anywhere(const Op& op, ForwardContext& context) {
  Device device = kCpu;
  for (const Tensor& t : context.in) {
    if (t.defined()) device = t.device();
  }
  if (!allowed_here || device == kCpu) return op.forward(context);
  const Rng rng = context.rng;
  try {
    return op.forward(context);
  } catch (const NoImplementation& why) {
    tell(op, "forward", device, why);
  }
  const std::span<const Tensor> in = context.in;
  std::vector<Tensor> here = moved(in, kCpu);
  std::vector<std::uint64_t> versions;
  versions.reserve(here.size());
  for (const Tensor& t : here) versions.push_back(t.defined() ? t.version() : 0);
  for (Tensor& t : context.out) t = Tensor();
  context.saved.clear();
  context.rng = rng;
  context.in = here;
  op.forward(context);
  context.in = in;
  // What an op changes in place (running statistics) is changed there, too.
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!here[i].defined() || here[i].version() == versions[i]) continue;
    Tensor target = in[i];
    target.copy_from(here[i]);
  }
  for (Tensor& t : context.out) t = moved(t, device);
  for (Tensor& t : context.saved) t = moved(t, device);
}

void detail::backward_anywhere(const Op& op, BackwardContext& context) {
  if (!allowed_here || context.device == kCpu) return op.backward(context);
  // A second owner keeps the first attempt from writing over what the second one reads.
  const std::vector<Tensor> grad_out(context.grad_out.begin(), context.grad_out.end()),
      saved(context.saved.begin(), context.saved.end());
  try {
    return op.backward(context);
  } catch (const NoImplementation& why) {
    tell(op, "backward", context.device, why);
  }
  const std::vector<Tensor> in = moved(context.in, kCpu), out = moved(context.out, kCpu);
  std::vector<Tensor> grad_here = moved(grad_out, kCpu), saved_here = moved(saved, kCpu);
  BackwardContext here = context;
  here.in = in;
  here.out = out;
  here.grad_out = grad_here;
  here.saved = saved_here;
  here.device = kCpu;
  for (Tensor& t : context.grad_in) t = Tensor();
  op.backward(here);
  for (Tensor& t : context.grad_in) t = moved(t, context.device);
}

}  // namespace fovea
