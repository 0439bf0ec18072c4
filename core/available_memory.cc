#include "core/available_memory.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "core/error.h"

namespace fovea {
namespace {

/// The first 64 KB of a file, or nothing: files of /proc do not say their size.
std::string text_of(const std::string& path) {
  std::string text(std::size_t{1} << 16, '\0');
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  text.resize(file ? std::fread(text.data(), 1, text.size(), file.get()) : 0);
  return text;
}

/// The number behind "key" in a file such as /proc/meminfo, or -1.
std::int64_t number_in(const std::string& path, const std::string& key) {
  const std::string text = text_of(path);
  std::size_t at = 0;
  if (!key.empty()) {
    at = text.rfind(key, 0) == 0 ? 0 : text.find("\n" + key);
    if (at == text.npos) return -1;
    at = text.find(key, at) + key.size();
  }
  long long value = -1;  // "max" is no number
  return std::sscanf(text.c_str() + at, "%lld", &value) == 1 ? value : -1;
}

/// What one control group leaves, or -1 without a limit.
std::int64_t left_in_group(const std::string& folder, bool second) {
  const std::int64_t limit = number_in(folder + (second ? "/memory.max" : "/memory.limit_in_bytes"), "");
  const std::int64_t used = number_in(folder + (second ? "/memory.current" : "/memory.usage_in_bytes"), "");
  if (limit < 0 || used < 0 || limit > std::int64_t{1} << 60) return -1;
  const std::int64_t files = number_in(folder + "/memory.stat", second ? "inactive_file " : "total_inactive_file ");
  return std::max<std::int64_t>(0, limit - used + std::max<std::int64_t>(0, files));
}

}  // namespace

std::int64_t resident_memory() { return std::max<std::int64_t>(0, number_in("/proc/self/status", "VmRSS:")) * 1024; }

std::int64_t peak_resident_memory() {
  return std::max<std::int64_t>(0, number_in("/proc/self/status", "VmHWM:")) * 1024;
}

std::int64_t available_memory(const std::string& root) {
  std::int64_t least = -1;
  const auto consider = [&](std::int64_t bytes) {
    if (bytes >= 0 && (least < 0 || bytes < least)) least = bytes;
  };
  const std::int64_t kilobytes = number_in(root + "/proc/meminfo", "MemAvailable:");
  if (kilobytes >= 0) consider(kilobytes * 1024);
  const std::string groups = text_of(root + "/proc/self/cgroup");
  // Lines "7:memory:/path" (v1) and "0::/path" (v2). Each group above counts, too. In a container the path may be that
  // of the host, where only the mount's root exists.
  for (std::size_t at = 0; at < groups.size();) {
    const std::size_t end = std::min(groups.find('\n', at), groups.size());
    const std::string line = groups.substr(at, end - at);
    at = end + 1;
    const std::size_t first = line.find(':'), second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controller = line.substr(first + 1, second - first - 1);
    const bool v2 = controller.empty();
    if (!v2 && controller != "memory") continue;
    std::string path = line.substr(second + 1);
    if (path.find("..") != path.npos) path = "/";
    for (;;) {
      if (path == "/") path.clear();
      consider(left_in_group(root + (v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory") + path, v2));
      if (path.empty()) break;
      path.erase(path.rfind('/'));
    }
  }
  return std::max<std::int64_t>(0, least);
}

}  // namespace fovea
