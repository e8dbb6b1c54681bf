/** Tests that become an ordinary user need root, and a checkout that such a user may read (not below /root). */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** The user `nobody` of Debian. */
export const ORDINARY_USER = 65_534;

const checkout = join(import.meta.dirname, '..', '..', 'package.json');

function findObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can become somebody else';
  const identity = { uid: ORDINARY_USER, gid: ORDINARY_USER };
  const { status } = spawnSync('test', ['-r', checkout], identity);
  return status === 0 ? undefined : 'the checkout lies where no other user may read';
}

/** Why such tests cannot run here; undefined when they can. */
export const ordinaryUserMissing = findObstacle();
