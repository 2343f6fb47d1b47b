import type { z } from 'zod'
import { message } from '../../schema.ts'
import { ControllerName, Group, KindName, Namespace, ObjectName, sized } from './common.ts'

/** Which controller looks after the Gateways of a class (gatewayclass_types.go). */
export const GatewayClass = message(
  {
    controllerName: ControllerName,
    parametersRef: message({ group: Group, kind: KindName, name: ObjectName, namespace: Namespace }, [
      'group',
      'kind',
      'name',
    ]),
    description: sized(64),
  },
  ['controllerName'],
)
export type GatewayClass = z.infer<typeof GatewayClass>
