// JPEG by libjpeg-turbo. libjpeg reports errors by a callback that must not return; here it longjmps, and every
// function that can be jumped out of holds plain data only, so that no destructor is skipped.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>
// after jpeglib.h, which it needs
#include <jerror.h>

#include "core/error.h"
#include "image/codec.h"
#include "image/exif.h"

namespace fovea::image::codec {
namespace {

// libjpeg decodes each scan of a progressive file over the whole picture; a file of many empty scans would take hours.
// Real encoders write 10 or so; libjpeg-turbo's own fuzzers stop at 500.
constexpr int kMaxScans = 500;
// Every 8x8 block of a component costs at least one bit of Huffman data, and no component samples more coarsely than
// every fourth pixel of every fourth row: 8 bits * 64 * 16 pixels for one byte. A header that promises more is a lie.
constexpr std::uint64_t kMaxPixelsPerByte = 8 * 64 * 16;

struct Decoder {
  jpeg_decompress_struct info;  // must be first: callbacks get a pointer to it
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
  int damage;  // first warning code that means missing or garbled picture data, 0 for none
  bool out_of_memory;
  bool too_many_scans;
};

Decoder* self(j_common_ptr info) { return reinterpret_cast<Decoder*>(info); }

[[noreturn]] void on_error(j_common_ptr info) {
  Decoder* d = self(info);
  d->errors.format_message(info, d->message);
  d->out_of_memory = d->errors.msg_code == JERR_OUT_OF_MEMORY;
  std::longjmp(d->escape, 1);
}

void on_message(j_common_ptr info, int level) {
  Decoder* d = self(info);
  if (level >= 0) return;  // trace output
  ++d->errors.num_warnings;
  if (d->damage) return;
  switch (d->errors.msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
      d->damage = d->errors.msg_code;
      d->errors.format_message(info, d->message);
      break;
    default: break;  // extraneous bytes, an odd Adobe or JFIF header: the picture is whole
  }
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  Decoder* d = self(info);
  if (d->info.input_scan_number <= kMaxScans) return;
  d->too_many_scans = true;
  std::strcpy(d->message, "more than 500 scans");
  std::longjmp(d->escape, 1);
}

class Session {
 public:
  Session() {
    std::memset(&d, 0, sizeof d);
    d.info.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = on_error;
    d.errors.emit_message = on_message;
    d.errors.output_message = on_output;
    d.progress.progress_monitor = on_progress;
  }
  ~Session() { jpeg_destroy_decompress(&d.info); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  Decoder d;
};

// The three functions below return false after a jump. They hold no object with a destructor.
bool read_header(Decoder* d, const std::uint8_t* bytes, unsigned long size) {
  if (setjmp(d->escape)) return false;
  jpeg_create_decompress(&d->info);
  d->info.progress = &d->progress;
  jpeg_mem_src(&d->info, bytes, size);
  jpeg_save_markers(&d->info, JPEG_APP0 + 1, 0xffff);  // EXIF
  jpeg_read_header(&d->info, TRUE);
  return true;
}

bool start(Decoder* d) {
  if (setjmp(d->escape)) return false;
  jpeg_start_decompress(&d->info);
  return true;
}

bool read_rows(Decoder* d, std::uint8_t* pixels, std::size_t row_bytes) {
  if (setjmp(d->escape)) return false;
  while (d->info.output_scanline < d->info.output_height) {
    JSAMPROW row = pixels + d->info.output_scanline * row_bytes;
    jpeg_read_scanlines(&d->info, &row, 1);
  }
  jpeg_finish_decompress(&d->info);
  return true;
}

Error failure(const Decoder& d, const std::string& name) {
  if (d.out_of_memory)
    return Error(ErrorKind::memory, name, str("out of memory while decoding this JPEG: ", d.message));
  if (d.too_many_scans) return Error(ErrorKind::format, name, "hostile JPEG: more than 500 progressive scans");
  return Error(ErrorKind::format, name, str("damaged JPEG: ", d.message),
               "the file may be truncated; fetch it again or delete it");
}

Error truncated(const Decoder& d, const std::string& name) {
  return Error(ErrorKind::format, name, str("truncated or damaged JPEG: ", d.message),
               "fetch it again, or accept a partly grey picture with DecodeOptions::allow_truncated");
}

// Pillow's integer CMYK -> RGB on libjpeg's output. The files hold inverted ink: Adobe's do, and Pillow takes it for
// granted of all others too.
void cmyk_to_rgb(const std::uint8_t* in, std::uint8_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i, in += 4, out += 3) {
    const unsigned white = in[3];
    for (int c = 0; c < 3; ++c) {
      const unsigned v = (255u - in[c]) * white + 128;
      out[c] = static_cast<std::uint8_t>(white - ((v + (v >> 8)) >> 8));
    }
  }
}

int orientation_of(const jpeg_decompress_struct& info) {
  static constexpr std::uint8_t kExif[6] = {'E', 'x', 'i', 'f', 0, 0};
  for (jpeg_saved_marker_ptr m = info.marker_list; m; m = m->next) {
    if (m->marker == JPEG_APP0 + 1 && m->data_length > sizeof kExif && std::memcmp(m->data, kExif, sizeof kExif) == 0) {
      return exif_orientation({m->data + sizeof kExif, m->data_length - sizeof kExif});
    }
  }
  return 1;
}

ImageInfo describe(const jpeg_decompress_struct& info) {
  ImageInfo out;
  out.format = Format::jpeg;
  out.width = static_cast<int>(info.image_width);
  out.height = static_cast<int>(info.image_height);
  out.channels = info.num_components == 1 ? 1 : 3;
  out.bit_depth = info.data_precision;
  out.orientation = orientation_of(info);
  return out;
}

void open(Session& session, Bytes bytes, const std::string& name) {
  if (!read_header(&session.d, bytes.data(), bytes.size())) throw failure(session.d, name);
}

}  // namespace

ImageInfo probe_jpeg(Bytes bytes, const std::string& name) {
  Session session;
  open(session, bytes, name);
  return describe(session.d.info);
}

Raw decode_jpeg(Bytes bytes, const DecodeOptions& options, ImageInfo& result, const std::string& name) {
  Session session;
  open(session, bytes, name);
  jpeg_decompress_struct& info = session.d.info;
  result = describe(info);
  const std::uint64_t pixels = std::uint64_t{info.image_width} * info.image_height;
  if (!info.arith_code && !options.allow_truncated && pixels / kMaxPixelsPerByte > bytes.size()) {
    throw Error(ErrorKind::format, name,
                str("truncated JPEG: ", bytes.size(), " bytes cannot hold ", info.image_width, "x", info.image_height,
                    " pixels"));
  }
  switch (info.num_components) {
    case 1: info.out_color_space = JCS_GRAYSCALE; break;
    case 3: info.out_color_space = JCS_RGB; break;
    case 4: info.out_color_space = JCS_CMYK; break;
    default:
      throw Error(ErrorKind::format, name, str("JPEG with ", info.num_components, " components"),
                  "1 (grey), 3 (colour) and 4 (CMYK) are read");
  }
  // The exact integer transform and smooth chroma are libjpeg's defaults and Pillow's; stated so that they stay.
  info.dct_method = JDCT_ISLOW;
  info.do_fancy_upsampling = TRUE;
  if (options.shorter_side_at_least > 0) {
    const JDIMENSION side = std::min(info.image_width, info.image_height);
    unsigned denominator = 8;
    while (denominator > 1 && side / denominator < static_cast<JDIMENSION>(options.shorter_side_at_least))
      denominator /= 2;
    info.scale_num = 1;
    info.scale_denom = denominator;
  }
  const bool cmyk = info.num_components == 4;
  if (!start(&session.d)) throw failure(session.d, name);

  Raw raw;
  raw.width = static_cast<int>(info.output_width);
  raw.height = static_cast<int>(info.output_height);
  raw.channels = cmyk ? 3 : info.output_components;
  const std::size_t row_bytes = std::size_t{info.output_width} * static_cast<std::size_t>(info.output_components);
  std::vector<std::uint8_t> decoded = allocate(row_bytes * info.output_height, name);
  if (!read_rows(&session.d, decoded.data(), row_bytes)) {
    if (!options.allow_truncated || session.d.out_of_memory) throw failure(session.d, name);
  }
  if (session.d.damage && !options.allow_truncated) throw truncated(session.d, name);
  if (cmyk) {
    const std::uint64_t count = std::uint64_t{info.output_width} * info.output_height;
    raw.pixels = allocate(count * 3, name);
    cmyk_to_rgb(decoded.data(), raw.pixels.data(), count);
  } else {
    raw.pixels = std::move(decoded);
  }
  return raw;
}

}  // namespace fovea::image::codec
