// Where the rows of compiled convolutions come from (the image itself, or a padded window of it) and which thread makes
// which results. The arithmetic is planned_gemm.cc.
#include "kernels/cpu/simd/planned_conv.h"

#include <algorithm>
#include <cstring>

#include "core/threads/share.h"
#include "kernels/cpu/scratch.h"

namespace fovea::kernels::simd {
namespace {

// Rows that are multiplied with one panel after the other stay in L2 so long.
constexpr std::int64_t kBlockBytes = 192 << 10;
// Gathered rows that all panels are multiplied with: half of the smallest L2 this is made for.
constexpr std::int64_t kGatheredBytes = 512 << 10;
// Weights of a layer that are not in L2 when its turn comes: the layers between two runs have more.
constexpr std::int64_t kFarBytes = 64 << 10;
// Multiply-adds of an item that threads take from each other (1 µs of f32, and each item costs 0.1 µs) and how many of
// them a thread should have.
constexpr std::int64_t kItemWork = 150'000, kItemsPerThread = 8;

std::int64_t window_columns(const PlannedConv& c) { return (c.wo - 1) * c.stride.w + (c.kw - 1) * c.dilation.w + 1; }
std::int64_t window_rows(const PlannedConv& c, std::int64_t rows) {
  return (rows - 1) * c.stride.h + (c.kh - 1) * c.dilation.h + 1;
}

/// The padding is empty: windows lie inside the image.
bool inside(const PlannedConv& c) {
  return c.source == c.in && c.top == 0 && c.left == 0 && window_rows(c, c.ho) <= c.h && window_columns(c) <= c.w;
}

std::int64_t pitch_of(const PlannedConv& c) { return c.y_pitch > 0 ? c.y_pitch : c.co; }

PlannedGemm gemm_of(const PlannedConv& c, const ConvRows& job) {
  PlannedGemm g;
  g.in = c.in;
  g.out = c.out;
  g.k = c.packed_rows();
  g.packed = c.packed;
  g.columns = c.co;
  g.panel_begin = job.panel_begin;
  g.panel_end = job.panel_end;
  g.bias = c.bias;
  g.scale = c.scale;
  g.residual_scale = c.residual_scale;
  g.c_stride = job.y_pitch > 0 ? job.y_pitch : pitch_of(c);
  g.residual_stride = c.co;
  g.rounded = c.rounded;
  g.clamp = c.clamp;
  g.low = c.low;
  g.high = c.high;
  g.after = c.after;
  g.ask_end = job.ask_end;
  g.ask_results = job.ask_results;
  // Rows of a 1×1 convolution may be cut anywhere, those of another one only between rows of the image.
  g.thin = (c.kh * c.kw == 1 ? c.n * c.ho * c.wo : c.wo) <= 3;
  return g;
}

/// Rows [begin, end) of the matrix that the images of a 1×1 convolution are.
void pointwise_rows(const PlannedConv& c, const ConvRows& job, std::int64_t begin, std::int64_t end) {
  const Run run{0, static_cast<int>(c.packed_run(c.ci))};
  PlannedGemm g = gemm_of(c, job);
  g.runs = &run;
  g.run_count = 1;
  g.a_stride = c.ci;
  const std::int64_t tile = planned_tile_rows();
  const std::int64_t block = std::max<std::int64_t>(1, kBlockBytes / (c.ci * bytes_of(c.in)) / tile) * tile;
  for (std::int64_t row = begin; row < end; row += block) {
    g.rows = std::min(block, end - row);
    g.a = element_at(job.x, row * c.ci, c.in);
    g.c = element_at(job.y, row * g.c_stride, c.out);
    g.residual = job.residual ? element_at(job.residual, row * c.co, c.out) : nullptr;
    planned_gemm(g);
  }
}

/// Its weights come from beyond L2 whenever it runs.
bool asks(const PlannedConv& c) {
  return c.in == Element::f32 && c.packed_rows() * c.co * static_cast<std::int64_t>(sizeof(float)) >= kFarBytes;
}

bool rows_compete(const PlannedConv& c) {
  const std::int64_t step = c.stride.w * c.ci * bytes_of(c.in);
  return c.n * c.ho * c.wo > 8 && c.kh == 1 && c.kw == 1 && inside(c) &&
         pitch_competes(c.stride.w > 1 ? 2 * step : step);
}

std::int64_t gathered_pitch(const PlannedConv& c) { return c.ci + 64 / bytes_of(c.in); }

/// Results [begin, end) of such a convolution, pixel by pixel over all images, `block` at a time: the rows are copied
/// to where they lie a cache line further apart.
void gathered_rows(const PlannedConv& c, const ConvRows& job, std::int64_t block) {
  const Run run{0, static_cast<int>(c.packed_run(c.ci))};
  PlannedGemm g = gemm_of(c, job);
  g.runs = &run;
  g.run_count = 1;
  g.a_stride = gathered_pitch(c);
  auto* const rows = scratch(ScratchSlot::worker, static_cast<std::size_t>(block * g.a_stride * bytes_of(c.in) / 4));
  for (std::int64_t row = job.begin; row < job.end; row += block) {
    g.rows = std::min(block, job.end - row);
    for (std::int64_t i = 0; i < g.rows; ++i) {
      const std::int64_t pixel = row + i, column = pixel % c.wo, line = pixel / c.wo;
      const std::int64_t from = (line / c.ho * c.h + line % c.ho * c.stride.h) * c.w + column * c.stride.w;
      std::memcpy(element_at(static_cast<void*>(rows), i * g.a_stride, c.in), element_at(job.x, from * c.ci, c.in),
                  static_cast<std::size_t>(c.ci * bytes_of(c.in)));
    }
    g.a = rows;
    g.c = element_at(job.y, row * g.c_stride, c.out);
    g.residual = job.residual ? element_at(job.residual, row * c.co, c.out) : nullptr;
    planned_gemm(g);
  }
}

/// The whole of such a convolution on the thread team.
void gathered_conv(const PlannedConv& c, const void* x, const void* residual, void* y) {
  const std::int64_t pixels = c.n * c.ho * c.wo, panels = panel_count(c.co),
                     row_bytes = gathered_pitch(c) * bytes_of(c.in);
  const std::int64_t ask_end = asks(c) ? panels : 0;
  // More weights than rows: each thread gathers all rows and reads its part of the weights, once.
  if (c.co >= 2 * pixels && panels >= team_size() && pixels * row_bytes <= kGatheredBytes) {
    return parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) {
      gathered_rows(c, {x, residual, y, 0, pixels, begin, end, nullptr, 0, std::min(ask_end, end)}, pixels);
    });
  }
  const std::int64_t tile = planned_tile_rows();
  const std::int64_t block = std::max<std::int64_t>(1, kBlockBytes / row_bytes / tile) * tile;
  parallel_for(pixels, std::max<std::int64_t>(4, kWorkPerThread / (c.ci * c.co)),
               [&](std::int64_t begin, std::int64_t end) {
                 gathered_rows(c, {x, residual, y, begin, end, 0, panels, nullptr, 0, ask_end}, block);
               });
}

/// Copies the window of result rows [begin, end): zeros (of u8: the zero point) outside the image.
void copy_window(const PlannedConv& c, const void* x, std::int64_t begin, std::int64_t end, void* window) {
  auto* to = static_cast<char*>(window);
  const std::int64_t columns = window_columns(c), y0 = begin * c.stride.h - c.top;
  const std::int64_t before = std::min(c.left, columns), have = std::clamp<std::int64_t>(c.w, 0, columns - before);
  const auto bytes = [&](std::int64_t pixels) { return static_cast<std::size_t>(pixels * c.ci * bytes_of(c.in)); };
  for (std::int64_t r = 0, rows = window_rows(c, end - begin); r < rows; ++r, to += bytes(columns)) {
    const std::int64_t y = y0 + r;
    if (y < 0 || y >= c.h) {
      std::memset(to, c.zero, bytes(columns));
      continue;
    }
    std::memset(to, c.zero, bytes(before));
    const void* const from = element_at(x, y * c.w * c.ci, c.source);
    if (c.source == c.in) {
      std::memcpy(to + bytes(before), from, bytes(have));
    } else if (c.in == Element::u8) {
      to_u8(static_cast<const float*>(from), reinterpret_cast<std::uint8_t*>(to + bytes(before)), have * c.ci,
            c.source_inverse_scale, c.zero);
    } else {
      to_bf16(static_cast<const float*>(from), reinterpret_cast<std::uint16_t*>(to + bytes(before)), have * c.ci);
    }
    std::memset(to + bytes(before + have), c.zero, bytes(columns - before - have));
  }
  if (c.source != c.in) std::memset(to, 0, 4);  // read by the last run, times zero: must be a number
}

/// Result rows per window copy: windows of 64 KB, which leaves L2 to the weights; larger ones where the weights come
/// from beyond it, so that they come once.
std::int64_t band_of(const PlannedConv& c) {
  const std::int64_t row = std::max<std::int64_t>(1, window_columns(c) * c.ci * c.stride.h * bytes_of(c.in));
  return std::clamp<std::int64_t>((asks(c) ? kGatheredBytes : 64 << 10) / row, 1, c.ho);
}

}  // namespace

bool shares_pay(std::int64_t work, Element element) {
  return work >= team_size() * (element == Element::u8 ? 4'000'000 : 1'000'000);
}

bool PlannedConv::pointwise() const {
  return kh == 1 && kw == 1 && stride == Size2{1, 1} && ho == h && wo == w && source == in;
}

std::int64_t PlannedConv::packed_run(std::int64_t length) const {
  if (in == Element::u8) return (length + 3) / 4 * 4;
  return source == in ? length : (length + 1) / 2 * 2;
}

std::int64_t PlannedConv::packed_rows() const {
  return dilation.w == 1 ? kh * packed_run(kw * ci) : kh * kw * packed_run(ci);
}

std::int64_t PlannedConv::scratch_bytes(std::int64_t rows) const {
  if (pointwise() || inside(*this)) return 0;
  // And what the last run reads beyond.
  return window_rows(*this, std::min(rows, band_of(*this))) * window_columns(*this) * ci * bytes_of(in) + 64;
}

void planned_conv_rows(const PlannedConv& c, const ConvRows& job) {
  if (c.pointwise()) return pointwise_rows(c, job, job.begin * c.w, job.end * c.w);
  const bool direct = inside(c);
  const std::int64_t pitch = (direct ? c.w : window_columns(c)) * c.ci;
  Run runs[kMaxRuns];
  int count = 0;
  for (std::int64_t ky = 0; ky < c.kh; ++ky) {
    const std::int64_t row = ky * c.dilation.h * pitch;
    if (c.dilation.w == 1) {
      runs[count++] = {row, static_cast<int>(c.packed_run(c.kw * c.ci))};
      continue;
    }
    for (std::int64_t kx = 0; kx < c.kw; ++kx)
      runs[count++] = {row + kx * c.dilation.w * c.ci, static_cast<int>(c.packed_run(c.ci))};
  }
  PlannedGemm g = gemm_of(c, job);
  g.runs = runs;
  g.run_count = count;
  g.a_stride = c.stride.w * c.ci;
  g.rows = c.wo;
  const std::int64_t band = direct ? job.end - job.begin : band_of(c);
  for (std::int64_t begin = job.begin; begin < job.end; begin += band) {
    const std::int64_t end = std::min(job.end, begin + band);
    const void* window = element_at(job.x, begin * c.stride.h * c.w * c.ci, c.source);
    if (!direct) {
      copy_window(c, job.x, begin, end, job.scratch);
      window = job.scratch;
    }
    // Panel after panel over the band: a panel of weights is used from L1 or L2 for all its rows.
    const std::int64_t row_tiles = planned_tiles(c.wo);
    for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
      g.panel_begin = p;
      g.panel_end = p + 1;
      const Fetch fetch = next_panel(g, p, (end - begin) * row_tiles);
      for (std::int64_t y = begin; y < end; ++y) {
        g.fetch = fetch;
        if (fetch.at) g.fetch.at += (y - begin) * row_tiles * tile_fetch(g, fetch);
        g.a = element_at(window, (y - begin) * c.stride.h * pitch, c.in);
        g.c = element_at(job.y, y * c.wo * g.c_stride, c.out);
        g.residual = job.residual ? element_at(job.residual, y * c.wo * c.co, c.out) : nullptr;
        planned_gemm(g);
      }
    }
  }
}

namespace {

/// A 1×1 convolution: stretches of rows × panels × a few tiles of rows, in this order, so that each thread multiplies a
/// stretch with one panel after the other, and the next layer finds most of what it reads in its own core's cache. Maps
/// of too few rows to divide evenly (7×7: four tiles of 14, but 28 rows and 21) are one stretch, and threads share the
/// panels.
void pointwise_conv(const PlannedConv& c, const void* x, const void* residual, void* y) {
  const std::int64_t rows = c.n * c.h * c.w, panels = panel_count(c.co), tile = planned_tile_rows();
  const std::int64_t tiles = planned_tiles(rows), threads = team_size();
  const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const bool evenly = tiles >= 2 * threads && tiles % threads == 0 && rows * 33 > tiles * tile * 32;
  std::int64_t stretches = 1;
  if (tiles >= 8 * threads || evenly) {
    const std::int64_t most = std::max<std::int64_t>(1, kBlockBytes / (c.ci * bytes_of(c.in)) / tile);
    stretches = threads * over(tiles, threads * most);
  }
  const std::int64_t most_tiles = over(tiles, stretches);
  const std::int64_t tile_work = tile * c.ci * std::min<std::int64_t>(c.co, panel_width());
  // A panel's tiles are cut into parts where there are few panels.
  const std::int64_t wanted =
      std::clamp<std::int64_t>(over(kItemsPerThread * threads, stretches * panels), 1, most_tiles);
  const std::int64_t least_tiles = kItemWork * (c.in == Element::u8 ? 4 : 1) / tile_work;
  const std::int64_t together =
      std::min(std::max({over(most_tiles, wanted), least_tiles, std::int64_t{1}}), most_tiles);
  const std::int64_t parts = over(most_tiles, together);
  const std::int64_t items = stretches * panels * parts;
  const bool far = asks(c);
  // Tiles of nearly equal height instead of a thin last one, where that is a large part of all.
  const auto row_at = [&](std::int64_t t) { return stretches == 1 ? rows * t / tiles : std::min(rows, t * tile); };
  const std::int64_t grain = std::max<std::int64_t>(1, kWorkPerThread / (tile_work * together));
  const bool fixed = !shares_pay(rows * c.ci * c.co, c.in);
  parallel_shares({.count = items, .grain = grain, .fixed = fixed}, [&](Share& share) {
    ConvRows job{x, residual, y, 0, 0, 0, 0, nullptr, 0, 0, threads > 1};
    while (share.take(items)) {
      for (std::int64_t i = share.begin(); i < share.end();) {
        const std::int64_t part = i % parts, panel = i / parts % panels, stretch = i / parts / panels;
        const std::int64_t begin = tiles * stretch / stretches, end = tiles * (stretch + 1) / stretches;
        std::int64_t some = std::min(parts - part, share.end() - i);
        job.panel_begin = panel;
        job.panel_end = panel + 1;
        if (part == 0 && share.end() - i >= 2 * parts) {
          job.panel_end = std::min(panels, panel + (share.end() - i) / parts);
          some = (job.panel_end - panel) * parts;
        }
        if (far) job.ask_end = (std::min(share.reach(), (stretch + 1) * panels * parts) - 1) / parts % panels + 1;
        const std::int64_t last = std::min(end, begin + (part + std::min(some, parts)) * together);
        pointwise_rows(c, job, row_at(std::min(end, begin + part * together)), row_at(last));
        i += some;
      }
    }
  });
}

/// Any other convolution: threads share the rows of the result, of all images, or where these are few and do not divide
/// evenly, panels × rows.
void window_conv(const PlannedConv& c, const void* x, const void* residual, void* y) {
  const std::int64_t panels = panel_count(c.co), rows = c.n * c.ho, threads = team_size();
  const std::int64_t row_work = c.wo * c.kh * c.kw * c.ci * c.co;
  const bool far = asks(c);
  const auto some_rows = [&](std::int64_t begin, std::int64_t end, std::int64_t panel_begin, std::int64_t panel_end,
                             std::int64_t ask_end) {
    ConvRows job{x, residual, y, 0, 0, panel_begin, panel_end, nullptr, 0, far ? ask_end : 0};
    job.scratch = scratch(ScratchSlot::worker, static_cast<std::size_t>(c.scratch_bytes(end - begin) / 4 + 1));
    while (begin < end) {
      const std::int64_t image = begin / c.ho, first = begin % c.ho, last = std::min(c.ho, first + end - begin);
      const std::int64_t pixels = image * c.ho * c.wo;
      job.x = element_at(x, image * c.h * c.w * c.ci, c.source);
      job.y = element_at(y, pixels * pitch_of(c), c.out);
      job.residual = residual ? element_at(residual, pixels * c.co, c.out) : nullptr;
      job.begin = first;
      job.end = last;
      planned_conv_rows(c, job);
      begin += last - first;
    }
  };
  if (rows >= 8 * threads || (rows >= 2 * threads && rows % threads == 0)) {
    // Each part copies a window, and reads all weights.
    const std::int64_t least = far ? rows : (band_of(c) + 1) / 2;
    const std::int64_t grain = std::max<std::int64_t>(1, kWorkPerThread / std::max<std::int64_t>(1, row_work));
    parallel_shares({.count = rows, .grain = grain, .least = least}, [&](Share& share) {
      while (share.take(rows)) some_rows(share.begin(), share.end(), 0, panels, panels);
    });
    return;
  }
  const std::int64_t grain = std::max<std::int64_t>(1, kWorkPerThread / std::max<std::int64_t>(1, row_work / panels));
  parallel_shares({.count = rows * panels, .grain = grain, .least = rows}, [&](Share& share) {
    while (share.take(rows * panels)) {
      const std::int64_t ask_end = (share.reach() - 1) / rows + 1;
      for (std::int64_t i = share.begin(); i < share.end();) {
        const std::int64_t panel = i / rows, first = i % rows, whole = (share.end() - i) / rows;
        if (first == 0 && whole > 1) {  // one copy of the window for several panels
          some_rows(0, rows, panel, panel + whole, ask_end);
          i += whole * rows;
          continue;
        }
        const std::int64_t last = std::min(rows, first + share.end() - i);
        some_rows(first, last, panel, panel + 1, ask_end);
        i += last - first;
      }
    }
  });
}

}  // namespace

void planned_conv(const PlannedConv& c, const void* x, const void* residual, void* y) {
  if (c.n * c.ho * c.wo == 0) return;
  if (rows_compete(c)) return gathered_conv(c, x, residual, y);
  c.pointwise() ? pointwise_conv(c, x, residual, y) : window_conv(c, x, residual, y);
}

}  // namespace fovea::kernels::simd
