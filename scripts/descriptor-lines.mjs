import { fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'

/**
 * A descriptor set as src/xds/descriptors.ts reads it: JSON, since its parser is native and protobuf's is not. The
 * first line has for each file its name and those of its top-level types; the others are the files, in that order.
 * What every message has (`$typeName`) is left out, bytes are base64.
 */
export function descriptorLines(bytes) {
  const { file: files } = fromBinary(FileDescriptorSetSchema, bytes)
  const index = files.map((file) => {
    const prefix = file.package ? `${file.package}.` : ''
    const types = [file.messageType, file.enumType, file.service, file.extension].flat()
    return [file.name, ...types.map((type) => prefix + type.name)]
  })
  return [index, ...files].map((line) => JSON.stringify(line, plain)).join('\n')
}

function plain(key, value) {
  if (key === '$typeName') return undefined
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value
}
