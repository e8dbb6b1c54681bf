/** All rows of the table. */

import { DAMAGE_ROWS } from './damage-rows.ts';
import { ERROR_ROWS } from './error-rows.ts';
import { KILL_ROWS } from './kill-rows.ts';
import type { Row } from './matrix.ts';
import { OPERATOR_ROWS } from './operator-rows.ts';
import { POWER_ROWS } from './power-rows.ts';

export const ROWS: readonly Row[] = [
  ...KILL_ROWS,
  ...POWER_ROWS,
  ...ERROR_ROWS,
  ...DAMAGE_ROWS,
  ...OPERATOR_ROWS,
];
