// DICOM: the data set is parsed by DCMTK; pixels are checked and turned into what is meant to be seen here.
#include "image/codec.h"

#include "core/error.h"

#ifdef FOVEA_DCMTK

#include <algorithm>
#include <cmath>
#include <cstring>

#include "image/dicom_internal.h"

namespace fovea::image::dicom {
namespace {

std::string text_of(DcmItem& item, const DcmTagKey& tag) {
  OFString value;
  if (item.findAndGetOFString(tag, value).bad()) return {};
  std::string out = value.c_str();
  while (!out.empty() && (out.back() == ' ' || out.back() == '\0')) out.pop_back();
  return out;
}

int whole_of(DcmItem& item, const DcmTagKey& tag, int otherwise) {
  Uint16 value = 0;
  return item.findAndGetUint16(tag, value).good() ? value : otherwise;
}

/// libjpeg takes three components for YCbCr unless a mark says otherwise; DICOM says it in its own header.
void mark_rgb(std::vector<std::uint8_t>& jpeg) {
  static constexpr std::uint8_t kAdobe[] = {0xff, 0xee, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 0};
  const std::uint8_t mark[] = {'A', 'd', 'o', 'b', 'e'};
  const auto head = jpeg.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(jpeg.size(), 4096));
  if (jpeg.size() > 2 && std::search(jpeg.begin(), head, std::begin(mark), std::end(mark)) == head)
    jpeg.insert(jpeg.begin() + 2, std::begin(kAdobe), std::end(kAdobe));
}

/// A table of values behind a first input value, as in VOI LUTs and palettes.
struct Table {
  int first = 0, bits = 8;
  std::vector<int> values;
  bool empty() const { return values.empty(); }
  /// 0 to 255.
  std::uint8_t at(int v) const {
    const int i = std::clamp(v - first, 0, static_cast<int>(values.size()) - 1);
    return static_cast<std::uint8_t>(std::clamp(values[static_cast<std::size_t>(i)] >> std::max(0, bits - 8), 0, 255));
  }
};

Table read_table(DcmItem& item, const DcmTagKey& descriptor, const DcmTagKey& data, bool signed_first) {
  Table t;
  Uint16 count = 0, first = 0, bits = 0;
  // A descriptor may be stored as signed or unsigned words.
  DcmElement* element = nullptr;
  if (item.findAndGetElement(descriptor, element).bad() || !element) return t;
  const auto word = [&](unsigned long i, Uint16& out) {
    if (element->getUint16(out, i).good()) return true;
    Sint16 v = 0;
    if (element->getSint16(v, i).bad()) return false;
    out = static_cast<Uint16>(v);
    return true;
  };
  if (!word(0, count) || !word(1, first) || !word(2, bits) || bits < 1 || bits > 16) return t;
  const std::size_t wanted = count == 0 ? 65536 : count;
  const Uint16* words = nullptr;
  unsigned long words_count = 0;
  const Uint8* bytes = nullptr;
  unsigned long bytes_count = 0;
  if (item.findAndGetUint16Array(data, words, &words_count).good() && words) {
    if (words_count >= wanted) {
      t.values.assign(words, words + wanted);
    } else if (bits == 8 && words_count >= (wanted + 1) / 2) {  // two values in each word
      for (std::size_t i = 0; i < wanted; ++i) t.values.push_back(words[i / 2] >> (i % 2 ? 8 : 0) & 255);
    }
  } else if (item.findAndGetUint8Array(data, bytes, &bytes_count).good() && bytes && bytes_count >= wanted) {
    t.values.assign(bytes, bytes + wanted);
  }
  t.first = signed_first ? static_cast<std::int16_t>(first) : first;
  t.bits = bits;
  return t;
}

int sample(const std::uint8_t* at, const PixelFormat& f) {
  std::uint32_t v = at[0];
  if (f.allocated == 16) v |= static_cast<std::uint32_t>(at[1]) << 8;
  v >>= f.high + 1 - f.stored;
  v &= (std::uint32_t{1} << f.stored) - 1;
  if (f.is_signed && (v >> (f.stored - 1) & 1)) return static_cast<int>(v) - (1 << f.stored);
  return static_cast<int>(v);
}

/// How stored grey values become 0 to 255.
class GreyRule {
 public:
  GreyRule(DcmItem& item, const PixelFormat& f, const std::vector<std::uint8_t>& frame) {
    Float64 v = 0;
    if (item.findAndGetFloat64(DCM_RescaleSlope, v).good() && v != 0) slope_ = v;
    if (item.findAndGetFloat64(DCM_RescaleIntercept, v).good()) intercept_ = v;
    DcmItem* table = nullptr;
    Float64 center = 0, width = 0;
    if (item.findAndGetFloat64(DCM_WindowCenter, center).good() &&
        item.findAndGetFloat64(DCM_WindowWidth, width).good() && width > 0) {
      const std::string function = text_of(item, DCM_VOILUTFunction);
      sigmoid_ = function == "SIGMOID";
      const bool exact = function == "LINEAR_EXACT" || sigmoid_;
      // PS3.3 C.11.2.1.2: LINEAR puts the window between c - 0.5 - (w-1)/2 and c - 0.5 + (w-1)/2.
      center_ = exact ? center : center - 0.5;
      width_ = exact ? width : std::max(width - 1, 1e-9);
    } else if (item.findAndGetSequenceItem(DCM_VOILUTSequence, table, 0).good() && table) {
      table_ = read_table(*table, DCM_LUTDescriptor, DCM_LUTData, f.is_signed || intercept_ < 0);
    }
    if (width_ <= 0 && table_.empty()) whole_range(item, f, frame);
    invert_ = (f.photometric == "MONOCHROME1") != (text_of(item, DCM_PresentationLUTShape) == "INVERSE");
  }

  std::uint8_t operator()(int stored) const {
    const double v = slope_ * stored + intercept_;
    double out = 0;
    if (!table_.empty()) {
      out = table_.at(static_cast<int>(std::clamp(v, -1e6, 1e6)));
    } else if (sigmoid_) {
      out = 255 / (1 + std::exp(-4 * (v - center_) / width_));
    } else {
      out = ((v - center_) / width_ + 0.5) * 255;
    }
    const auto level = static_cast<std::uint8_t>(std::clamp(out + 0.5, 0.0, 255.0));
    return invert_ ? static_cast<std::uint8_t>(255 - level) : level;
  }

 private:
  /// Without a window: from the darkest to the brightest pixel, padding left out.
  void whole_range(DcmItem& item, const PixelFormat& f, const std::vector<std::uint8_t>& frame) {
    if (f.stored == 8 && !f.is_signed && slope_ == 1 && intercept_ == 0) {  // made to be shown as it is
      center_ = 127.5;
      width_ = 255;
      return;
    }
    int padding = 1 << 30;
    Uint16 unsigned_padding = 0;
    Sint16 signed_padding = 0;
    if (item.findAndGetUint16(DCM_PixelPaddingValue, unsigned_padding).good())
      padding = f.is_signed ? static_cast<std::int16_t>(unsigned_padding) : unsigned_padding;
    if (item.findAndGetSint16(DCM_PixelPaddingValue, signed_padding).good()) padding = signed_padding;
    int low = 1 << 30, high = -(1 << 30);
    const std::size_t step = static_cast<std::size_t>(f.allocated / 8);
    for (std::size_t i = 0; i + step <= frame.size(); i += step) {
      const int v = sample(frame.data() + i, f);
      if (v == padding) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
    if (low > high) low = high = 0;
    const double a = slope_ * low + intercept_, b = slope_ * high + intercept_;
    center_ = (a + b) / 2;
    width_ = std::max(std::abs(b - a), 1e-9);
  }

  double slope_ = 1, intercept_ = 0, center_ = 0, width_ = 0;
  bool sigmoid_ = false, invert_ = false;
  Table table_;
};

/// Bytes of which DCMTK leaves long values where they are until it has seen that they exist. From a plain buffer it
/// allocates whatever length an element claims, up to 4 GB, before it looks.
class ByteStream final : public DcmInputBufferStream {
 public:
  ByteStream(codec::Bytes bytes, offile_off_t skipped) : bytes_(bytes) {
    setBuffer(bytes.data(), static_cast<offile_off_t>(bytes.size()));
    setEos();
    if (skipped > 0) skip(skipped);
  }
  DcmInputStreamFactory* newFactory() const override { return new Factory(bytes_, tell()); }

 private:
  class Factory final : public DcmInputStreamFactory {
   public:
    Factory(codec::Bytes bytes, offile_off_t at) : bytes_(bytes), at_(at) {}
    DcmInputStream* create() const override { return new ByteStream(bytes_, at_); }
    DcmInputStreamFactory* clone() const override { return new Factory(bytes_, at_); }
    DcmInputStreamFactoryType ident() const override { return DFT_DcmInputFileStreamFactory; }

   private:
    codec::Bytes bytes_;
    offile_off_t at_;
  };
  codec::Bytes bytes_;
};

/// The fragments of a packed picture; null where there are none.
DcmPixelSequence* fragments_of(DcmPixelData& pixels) {
  DcmPixelSequence* sequence = nullptr;
  E_TransferSyntax syntax = EXS_Unknown;
  const DcmRepresentationParameter* parameter = nullptr;
  pixels.getOriginalRepresentationKey(syntax, parameter);
  return pixels.getEncapsulatedRepresentation(syntax, parameter, sequence).good() ? sequence : nullptr;
}

/// No value in it claims more bytes than the file has: DCMTK allocates the claim even of a value that it could not
/// skip.
bool plausible(DcmObject& object, std::size_t bytes) {
  DcmObject* container = &object;
  if (auto* pixels = dynamic_cast<DcmPixelData*>(&object); pixels && pixels->getLengthField() == DCM_UndefinedLength) {
    container = fragments_of(*pixels);
    if (!container) return false;
  } else if (object.isLeaf()) {
    return object.getLengthField() <= bytes;
  }
  for (DcmObject* child = container->nextInContainer(nullptr); child; child = container->nextInContainer(child)) {
    if (!plausible(*child, bytes)) return false;
  }
  return true;
}

std::uint8_t to_byte(double v) { return static_cast<std::uint8_t>(std::clamp(v + 0.5, 0.0, 255.0)); }

}  // namespace

std::size_t PixelFormat::frame_bytes() const {
  const std::size_t pixels = static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  if (!jpeg && photometric == "YBR_FULL_422") return pixels * 2;
  return pixels * static_cast<std::size_t>(samples) * static_cast<std::size_t>(allocated / 8);
}

std::unique_ptr<DcmFileFormat> parse(codec::Bytes bytes, const std::string& name) {
  static const bool quiet = [] {
    OFLog::configure(OFLogger::OFF_LOG_LEVEL);
    return true;
  }();
  static_cast<void>(quiet);
  if (!dcmDataDict.isDictionaryLoaded())
    throw Error(ErrorKind::file, name, "DCMTK cannot find its dictionary of DICOM", "set DCMDICTPATH to its dicom.dic");
  auto file = std::make_unique<DcmFileFormat>();
  ByteStream stream(bytes, 0);
  file->transferInit();
  const OFCondition result = file->read(stream, EXS_Unknown, EGL_noChange);
  if (result.bad()) {
    // What follows a whole picture and is no element was appended by someone, and is dropped.
    DcmDataset& data = *file->getDataset();
    DcmElement* pixels = nullptr;
    const auto loads = [&](DcmElement& element) {
      return plausible(element, bytes.size()) && element.loadAllDataIntoMemory().good();
    };
    const bool whole = data.findAndGetElement(DCM_PixelData, pixels).good() && pixels && loads(*pixels);
    if (!whole) throw Error(ErrorKind::format, name, str("damaged DICOM: ", result.text()));
    // Elements are kept in the order of their tags: the broken one may stand anywhere, and claim any length.
    for (unsigned long i = data.card(); i-- > 0;) {
      DcmElement* element = data.getElement(i);
      if (element->transferState() != ERW_ready || !loads(*element)) delete data.remove(i);
    }
    while (data.card() > 0 && data.getElement(data.card() - 1) != pixels) delete data.remove(data.card() - 1);
  }
  file->transferEnd();
  if (!plausible(*file, bytes.size()) || file->loadAllDataIntoMemory().bad())
    throw Error(ErrorKind::format, name, "damaged DICOM: a value is not there");
  return file;
}

std::vector<std::vector<std::uint8_t>> packed_frames(DcmFileFormat& file, const std::string& name) {
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorKind::format, name, str("damaged DICOM: ", what));
  };
  DcmElement* element = nullptr;
  if (file.getDataset()->findAndGetElement(DCM_PixelData, element).bad() || !element)
    throw damaged("it holds no picture");
  auto* pixels = dynamic_cast<DcmPixelData*>(element);
  DcmPixelSequence* const sequence = pixels ? fragments_of(*pixels) : nullptr;
  if (!sequence) throw damaged("its picture is not packed as its header says");
  Sint32 frames = 1;
  if (file.getDataset()->findAndGetSint32(DCM_NumberOfFrames, frames).bad() || frames < 1) frames = 1;
  const unsigned long items = sequence->card();  // the first is the table of offsets
  if (items < 2) throw damaged("its packed picture is missing");
  // One frame may have many fragments; of several, a new one begins where a JPEG does.
  std::vector<std::vector<std::uint8_t>> out;
  for (unsigned long i = 1; i < items; ++i) {
    DcmPixelItem* item = nullptr;
    Uint8* data = nullptr;
    if (sequence->getItem(item, i).bad() || !item || item->getUint8Array(data).bad())
      throw damaged("a fragment of its picture is missing");
    const std::size_t size = data ? item->getLength() : 0;
    const bool begins = size >= 2 && data[0] == 0xff && data[1] == 0xd8;
    if (out.empty() || (frames > 1 && begins)) out.emplace_back();
    if (size > 0) out.back().insert(out.back().end(), data, data + size);
  }
  if (out.size() != static_cast<std::size_t>(frames))
    throw damaged(str("it holds ", out.size(), " packed pictures, its header says ", static_cast<long>(frames)));
  return out;
}

PixelFormat pixel_format(DcmFileFormat& file, const std::string& name) {
  DcmDataset& data = *file.getDataset();
  const auto unread = [&](const std::string& what) {
    return Error(ErrorKind::format, name, str("this is a DICOM file with ", what, ", which fovea does not read"),
                 "dcmdjpeg, dcmdrle, gdcmconv --raw and others make an uncompressed file of it");
  };
  PixelFormat f;
  f.syntax = data.getOriginalXfer();
  const DcmXfer syntax(f.syntax);
  f.jpeg = f.syntax == EXS_JPEGProcess1;
  if (syntax.isEncapsulated() && !f.jpeg) throw unread(str("a picture packed as ", syntax.getXferName()));
  if (!data.tagExists(DCM_PixelData)) throw Error(ErrorKind::format, name, "this DICOM file holds no picture");
  f.rows = whole_of(data, DCM_Rows, 0);
  f.columns = whole_of(data, DCM_Columns, 0);
  f.samples = whole_of(data, DCM_SamplesPerPixel, 1);
  f.allocated = whole_of(data, DCM_BitsAllocated, 8);
  f.stored = whole_of(data, DCM_BitsStored, f.allocated);
  f.high = whole_of(data, DCM_HighBit, f.stored - 1);
  f.is_signed = whole_of(data, DCM_PixelRepresentation, 0) == 1;
  f.planar = f.samples == 3 && whole_of(data, DCM_PlanarConfiguration, 0) == 1;
  f.photometric = text_of(data, DCM_PhotometricInterpretation);
  Sint32 frames = 1;
  if (data.findAndGetSint32(DCM_NumberOfFrames, frames).good()) f.frames = std::max<Sint32>(frames, 1);
  if (f.jpeg) f.allocated = f.stored = 8, f.high = 7, f.is_signed = f.planar = false;
  const bool grey = f.photometric == "MONOCHROME1" || f.photometric == "MONOCHROME2" || f.photometric.empty();
  const bool color =
      f.photometric == "RGB" || f.photometric.starts_with("YBR_FULL") || (f.jpeg && f.photometric.starts_with("YBR_"));
  const bool palette = f.photometric == "PALETTE COLOR" && !f.jpeg;
  if (!grey && !color && !palette) throw unread(str("pixels of the kind '", f.photometric, "'"));
  if (f.samples != (color ? 3 : 1)) throw unread(str(f.samples, " samples per pixel of the kind ", f.photometric));
  if ((f.allocated != 8 && f.allocated != 16) || f.stored < 1 || f.stored > f.allocated || f.high + 1 < f.stored ||
      f.high >= f.allocated)
    throw unread(str(f.stored, " of ", f.allocated, " bits per sample"));
  if (color && f.allocated != 8) throw unread("colours of 16 bits");
  return f;
}

std::vector<std::uint8_t> stored_frame(DcmFileFormat& file, const PixelFormat& f, std::int64_t frame,
                                       const DecodeOptions& options, const std::string& name) {
  if (frame < 0 || frame >= f.frames)
    throw Error(ErrorKind::usage, name, str("has ", f.frames, " frames, frame ", frame, " was asked for"));
  DcmElement* element = nullptr;
  if (file.getDataset()->findAndGetElement(DCM_PixelData, element).bad() || !element)
    throw Error(ErrorKind::format, name, "this DICOM file holds no picture");
  if (f.jpeg) {
    std::vector<std::uint8_t> jpeg = std::move(packed_frames(file, name)[static_cast<std::size_t>(frame)]);
    if (f.photometric == "RGB") mark_rgb(jpeg);
    if (jpeg.size() < 4 || jpeg[0] != 0xff || jpeg[1] != 0xd8)
      throw Error(ErrorKind::format, name, "damaged DICOM: its picture is no JPEG");
    ImageInfo info = codec::probe_jpeg(jpeg, name);
    if (info.width != f.columns || info.height != f.rows)
      throw Error(ErrorKind::format, name,
                  str("damaged DICOM: its JPEG is ", info.width, "x", info.height, ", its header says ", f.columns, "x",
                      f.rows));
    codec::Raw raw = codec::decode_jpeg(jpeg, options, info, name);
    if (raw.channels != f.samples)
      throw Error(ErrorKind::format, name,
                  str("damaged DICOM: its JPEG has ", raw.channels, " channels, its header says ", f.samples));
    return std::move(raw.pixels);
  }
  const Uint8* bytes = nullptr;
  const Uint16* words = nullptr;
  unsigned long count = 0;
  std::size_t size = 0;
  if (file.getDataset()->findAndGetUint8Array(DCM_PixelData, bytes, &count).good() && bytes) {
    size = count;
  } else if (file.getDataset()->findAndGetUint16Array(DCM_PixelData, words, &count).good() && words) {
    bytes = reinterpret_cast<const Uint8*>(words);
    size = std::size_t{2} * count;
  }
  const std::size_t each = f.frame_bytes(), begin = static_cast<std::size_t>(frame) * each;
  if (size < begin + each && !options.allow_truncated)
    throw Error(ErrorKind::format, name, str("truncated DICOM: ", size, " bytes of pixels, expected ", begin + each));
  std::vector<std::uint8_t> out = codec::allocate(each, name);
  if (size > begin) std::memcpy(out.data(), bytes + begin, std::min(each, size - begin));
  if (!f.planar) return out;
  std::vector<std::uint8_t> interleaved = codec::allocate(each, name);
  const std::size_t pixels = each / 3;
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) interleaved[3 * i + c] = out[c * pixels + i];
  }
  return interleaved;
}

codec::Raw render(DcmFileFormat& file, const PixelFormat& f, std::int64_t frame, const DecodeOptions& options,
                  const std::string& name) {
  std::vector<std::uint8_t> stored = stored_frame(file, f, frame, options, name);
  DcmItem& data = *file.getDataset();
  codec::Raw raw{f.columns, f.rows, f.samples, {}};
  const std::size_t pixels = static_cast<std::size_t>(f.rows) * static_cast<std::size_t>(f.columns);
  const std::size_t step = static_cast<std::size_t>(f.allocated / 8);
  if (f.photometric == "PALETTE COLOR") {
    const DcmTagKey descriptors[] = {DCM_RedPaletteColorLookupTableDescriptor,
                                     DCM_GreenPaletteColorLookupTableDescriptor,
                                     DCM_BluePaletteColorLookupTableDescriptor};
    const DcmTagKey values[] = {DCM_RedPaletteColorLookupTableData, DCM_GreenPaletteColorLookupTableData,
                                DCM_BluePaletteColorLookupTableData};
    raw.channels = 3;
    raw.pixels = codec::allocate(3 * pixels, name);
    for (std::size_t c = 0; c < 3; ++c) {
      const Table table = read_table(data, descriptors[c], values[c], f.is_signed);
      if (table.empty())
        throw Error(ErrorKind::format, name,
                    "damaged DICOM: its palette is missing or of a kind that fovea does not read");
      for (std::size_t i = 0; i < pixels; ++i) raw.pixels[3 * i + c] = table.at(sample(stored.data() + step * i, f));
    }
  } else if (f.samples == 1) {
    raw.pixels = codec::allocate(pixels, name);
    const GreyRule rule(data, f, stored);
    for (std::size_t i = 0; i < pixels; ++i) raw.pixels[i] = rule(sample(stored.data() + step * i, f));
  } else if (f.jpeg || f.photometric == "RGB") {
    raw.pixels = std::move(stored);
  } else {
    raw.pixels = codec::allocate(3 * pixels, name);
    const bool half = f.photometric == "YBR_FULL_422";  // Y Y Cb Cr for two pixels
    for (std::size_t i = 0; i < pixels; ++i) {
      const std::uint8_t* at = half ? stored.data() + i / 2 * 4 : stored.data() + 3 * i;
      if (half && i / 2 * 4 + 4 > stored.size()) break;
      const double y = half ? at[i % 2] : at[0], b = at[half ? 2 : 1] - 128.0, r = at[half ? 3 : 2] - 128.0;
      raw.pixels[3 * i] = to_byte(y + 1.402 * r);
      raw.pixels[3 * i + 1] = to_byte(y - 0.344136 * b - 0.714136 * r);
      raw.pixels[3 * i + 2] = to_byte(y + 1.772 * b);
    }
  }
  return raw;
}

}  // namespace fovea::image::dicom

namespace fovea::image::codec {

namespace {
ImageInfo info_of(const dicom::PixelFormat& f) {
  ImageInfo info;
  info.format = Format::dicom;
  info.width = f.columns;
  info.height = f.rows;
  info.has_palette = f.photometric == "PALETTE COLOR";
  info.channels = f.samples == 3 || info.has_palette ? 3 : 1;
  info.bit_depth = f.stored;
  return info;
}
}  // namespace

ImageInfo probe_dicom(Bytes bytes, const std::string& name) {
  const auto file = dicom::parse(bytes, name);
  return info_of(dicom::pixel_format(*file, name));
}

Raw decode_dicom(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name) {
  const auto file = dicom::parse(bytes, name);
  const dicom::PixelFormat format = dicom::pixel_format(*file, name);
  info = info_of(format);
  return dicom::render(*file, format, 0, options, name);
}

}  // namespace fovea::image::codec

#else

namespace fovea::image::codec {
namespace {
[[noreturn]] void refuse(const std::string& name) {
  throw Error(ErrorKind::format, name, "this is a DICOM file, which this build of fovea does not read",
              "build it with libdcmtk-dev installed");
}
}  // namespace
ImageInfo probe_dicom(Bytes, const std::string& name) { refuse(name); }
Raw decode_dicom(Bytes, const DecodeOptions&, ImageInfo&, const std::string& name) { refuse(name); }
}  // namespace fovea::image::codec

#endif
