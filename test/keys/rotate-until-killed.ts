/**
 * Rotates the wrapping key of a home and retires the older ones, and kills itself, as `kill -9` does, before one step:
 * the number of the step is given. Steps are all that changes something outside of this process.
 */

import { retireWrappingKeys, rotateCustody } from '../../src/keys/custody-maintenance.ts';
import { openCustodyHome } from './custody-home.ts';

const [folder = '', killBefore = ''] = process.argv.slice(2);
const home = await openCustodyHome(folder);
let steps = 0;

/** Counts the calls of some methods of an object. */
function watch(target: object, names: readonly string[]): void {
  for (const name of names) {
    const method = Reflect.get(target, name) as (...values: unknown[]) => unknown;
    Reflect.set(target, name, (...values: unknown[]): unknown => {
      if (steps === Number(killBefore)) process.kill(process.pid, 'SIGKILL');
      steps += 1;
      return method.apply(target, values);
    });
  }
}

watch(home.custodies.current.custody, ['rotate', 'rewrap', 'retire']);
watch(home.database, ['replace', 'addEvent', 'endWrappingKey', 'transaction']);
await rotateCustody(home);
await retireWrappingKeys(home);
await home.close();
process.stdout.write(`${steps}\n`);
