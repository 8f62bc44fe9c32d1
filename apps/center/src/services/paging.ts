/** Keyset lists: the rows after the marker in the order of (sort column, id). Never OFFSET. */
import { invalidRequest } from './refusal.ts';

export const SORTS = ['id', '-id', 'created_at', '-created_at', 'name', '-name'] as const;
export type Sort = (typeof SORTS)[number];

export interface PageRequest {
  /** Rows in the page, 1..1000. */
  limit: number;
  /** The last id seen. */
  marker?: string | undefined;
  sort: Sort;
}

export interface Page<Row> {
  rows: Row[];
  /** Null on the last page. */
  nextMarker: string | null;
}

interface Listed {
  id: string;
  created_at: Date;
  name?: string;
}

/** What a query builder over alias `t` must be able to do. */
interface ListQuery<Row> {
  andWhere(sql: string, parameters?: Record<string, unknown>): ListQuery<Row>;
  orderBy(column: string, direction: 'ASC' | 'DESC'): ListQuery<Row>;
  addOrderBy(column: string, direction: 'ASC' | 'DESC'): ListQuery<Row>;
  limit(rows: number): ListQuery<Row>;
  getMany(): Promise<Row[]>;
}

/**
 * One page of `query` (its rows under the alias `t`). Sorted by id, a marker needs no row, so a list that deletes as it
 * goes never loses its place; otherwise `findMarker` gives the row whose column the page goes on from.
 * `read`: how the query, once it is whole, is asked.
 */
export async function page<Row extends Listed>(
  query: ListQuery<Row>,
  request: PageRequest,
  findMarker: (id: string) => Promise<Row | null>,
  read: () => Promise<Row[]> = () => query.getMany(),
): Promise<Page<Row>> {
  const descending = request.sort.startsWith('-');
  const column = request.sort.replace('-', '') as 'id' | 'created_at' | 'name';
  const direction = descending ? 'DESC' : 'ASC';
  const after = descending ? '<' : '>';
  if (request.marker !== undefined) {
    if (column === 'id') {
      query.andWhere(`t.id ${after} :marker`, { marker: request.marker });
    } else {
      const row = await findMarker(request.marker);
      if (row === null)
        throw invalidRequest([{ path: 'query.marker', message: 'there is no such id (any more); start the list again' }]);
      // In this form both servers begin at the marker in the index; with an OR over both columns they begin at its start.
      query.andWhere(`t.${column} ${after}= :seen AND (t.${column} ${after} :seen OR t.id ${after} :marker)`, {
        seen: row[column],
        marker: request.marker,
      });
    }
  }
  query.orderBy(`t.${column}`, direction);
  if (column !== 'id') query.addOrderBy('t.id', direction);
  query.limit(request.limit + 1);
  const rows = await read();
  const more = rows.length > request.limit;
  if (more) rows.pop();
  return { rows, nextMarker: more ? rows.at(-1)!.id : null };
}

/** A LIKE pattern that finds `part` anywhere, taken literally. */
export function containing(part: string): string {
  return `%${part.replaceAll(/[\\%_]/g, '\\$&')}%`;
}
