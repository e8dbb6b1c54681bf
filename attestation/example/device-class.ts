/** The device class `example`: the template for a new one. It is registered nowhere but in tests. */

import type { DeviceClass } from '../core/device-class.ts';
import type { ExampleClaims } from './claims.ts';
import { exampleIdentity, readExampleEvidence } from './evidence.ts';
import type { ExampleEvidence } from './evidence.ts';
import { verifyExampleEvidence } from './verify.ts';

export const exampleDeviceClass: DeviceClass<ExampleEvidence, ExampleClaims> = {
  name: 'example',
  parse: readExampleEvidence,
  identify: exampleIdentity,
  verify: verifyExampleEvidence,
};
