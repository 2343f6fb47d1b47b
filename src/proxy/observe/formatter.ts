/**
 * What the rest of the proxy uses of formats and access logs. The operators live in `format/`, one file per
 * family; loggers in `access-log.ts`.
 */
export { type AccessLogger, compileAccessLoggers } from './access-log.ts'
export {
  compileFormat,
  compileHeaderFormat,
  compileJsonFormat,
  type Formatter,
} from './format/compile.ts'
