#include "kernels/devices.h"

#include <unistd.h>

#include <charconv>
#include <fstream>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "kernels/build_info.h"
#include "kernels/conv_norm.h"

#ifdef FOVEA_CUDA
#include "kernels/cuda/runtime.h"
#endif

namespace fovea {
namespace {

thread_local bool tf32 = false, tuning = false;

/// The value behind "name ... : value" in a text of the kernel's, empty where it is not there.
std::string line_value(const char* file, std::string_view name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(name) || colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

DeviceInfo cpu_info() {
  DeviceInfo info;
  info.name = line_value("/proc/cpuinfo", "model name");
  if (info.name.empty()) info.name = "CPU";
  info.capability = kernels::build_info().simd_target;
  info.units = num_threads();
  const auto pages = [](int name) { return static_cast<std::int64_t>(sysconf(name)) * sysconf(_SC_PAGESIZE); };
  info.memory = pages(_SC_PHYS_PAGES);
  info.free = pages(_SC_AVPHYS_PAGES);
  return info;
}

}  // namespace

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> all = {cpu_info()};
#ifdef FOVEA_CUDA
  for (int i = 0; i < kernels::cuda::availability().count; ++i) all.push_back(kernels::cuda::device_info(i));
#endif
  return all;
}

std::string why_no_gpu() {
#ifdef FOVEA_CUDA
  return kernels::cuda::availability().reason;
#else
  return "this build has no GPU code; build with -DFOVEA_CUDA=ON";
#endif
}

Device gpu(int index) {
#ifdef FOVEA_CUDA
  kernels::cuda::stream(index);  // throws where there is none of that number
  kernels::cuda::install_backend();
  return {DeviceType::cuda, index};
#else
  throw Error(ErrorKind::device, str("cuda:", index), why_no_gpu(), "or use the CPU");
#endif
}

Device device_from(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "cuda" || text == "gpu") return gpu();
  int index = -1;
  const std::string_view prefix = "cuda:";
  if (text.starts_with(prefix)) {
    const std::string_view digits = text.substr(prefix.size());
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc() || end != digits.data() + digits.size()) index = -1;
  }
  if (index < 0) {
    throw Error(ErrorKind::usage, "device", str("\"", text, "\" is no device"),
                "expected cpu, cuda or cuda:N; `fovea devices` lists them");
  }
  return gpu(index);
}

std::string why_no_half(Device device, DType half) {
  if (device.type == DeviceType::cpu) {
    if (half == DType::f16) return "f16 needs a GPU";
    return kernels::conv_norm_takes_bf16() ? "" : "this CPU has no products of bf16 (AVX-512 BF16)";
  }
#ifdef FOVEA_CUDA
  if (device.type == DeviceType::cuda && half == DType::bf16 && kernels::cuda::capability_major(device.index) < 8)
    return str(device, " has no products of bf16: its compute capability is below 8.0");
#endif
  return "";
}

void synchronize(Device device) {
#ifdef FOVEA_CUDA
  if (device.type == DeviceType::cuda) kernels::cuda::synchronize(device.index);
#else
  (void)device;  // work on the CPU is done when the call that does it returns
#endif
}

AllowTf32::AllowTf32(bool allow) : outer_(tf32) { tf32 = allow; }
AllowTf32::~AllowTf32() { tf32 = outer_; }
bool AllowTf32::allowed() { return tf32; }

Autotune::Autotune(bool on) : outer_(tuning) { tuning = on; }
Autotune::~Autotune() { tuning = outer_; }
bool Autotune::enabled() { return tuning; }

}  // namespace fovea
