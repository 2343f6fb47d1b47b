import type { z } from 'zod'
import { message } from '../../schema.ts'
import { Group, KindName, Namespace, ObjectName, sizedList } from './common.ts'

/** Lets objects of other namespaces refer to objects of its own (referencegrant_types.go). */
export const ReferenceGrant = message(
  {
    from: sizedList(
      message({ group: Group, kind: KindName, namespace: Namespace }, ['group', 'kind', 'namespace']),
      16,
      1,
    ),
    /** All objects of the kind when no name is given. */
    to: sizedList(message({ group: Group, kind: KindName, name: ObjectName }, ['group', 'kind']), 16, 1),
  },
  ['from', 'to'],
)
export type ReferenceGrant = z.infer<typeof ReferenceGrant>
