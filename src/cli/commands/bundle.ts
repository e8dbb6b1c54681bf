import type { Command } from 'commander';

import { registerBundleFetch } from './bundle-fetch.ts';
import { registerBundleSignature } from './bundle-signature.ts';
import { registerBundleTensors } from './bundle-tensors.ts';

const REGISTRATIONS = [registerBundleFetch, registerBundleSignature, registerBundleTensors];

/** `weightgate bundle …`: what can be done with a sealed bundle. */
export function registerBundle(program: Command): void {
  const bundle = program.command('bundle').description('sealed bundles, in folders and on mirrors');
  for (const register of REGISTRATIONS) register(bundle);
}
