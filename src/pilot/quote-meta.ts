/** Text that stands for itself in a regular expression (Go's regexp.QuoteMeta). */
export const quoteMeta = (text: string): string => text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&')
