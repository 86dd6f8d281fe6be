// Owns the list of the demo's airports. Holds no behaviour.

export const AIRPORTS = [
  { code: 'SFO', city: 'San Francisco' },
  { code: 'LAX', city: 'Los Angeles' },
  { code: 'SEA', city: 'Seattle' },
  { code: 'DEN', city: 'Denver' },
  { code: 'DFW', city: 'Dallas' },
  { code: 'ORD', city: 'Chicago' },
  { code: 'ATL', city: 'Atlanta' },
  { code: 'MIA', city: 'Miami' },
  { code: 'JFK', city: 'New York' },
  { code: 'BOS', city: 'Boston' },
];
