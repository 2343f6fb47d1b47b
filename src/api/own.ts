/** A table's value for a key that someone wrote, which may be `constructor`; undefined when it is not in the table itself. */
export const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined
