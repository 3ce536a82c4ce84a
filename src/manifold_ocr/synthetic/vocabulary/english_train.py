"""English words of the train and val splits; none of them stands in english_test.py."""

from manifold_ocr.synthetic.grammar import phrases, words

NOUNS = words(
    """
    account acre agency agenda aisle alarm album ankle answer apple apron arch area argument
    arrow article ash aspect atlas attic author autumn avenue axis bakery balance balcony
    balloon bank barn barrel basin basket battery beach beam bean bearing bed bell bench berry
    bicycle bill bird blade blanket block board boat bolt bond bonus book border bottle bowl
    box brake branch bread breeze brick bridge broom brush bucket budget bulb bundle butter
    button cabin cable cage calendar camera canal candle canyon captain carbon card cargo
    carpet castle cattle cause ceiling cellar centre chain chair chalk chamber change channel
    chapter charge chart cheese chest chief chimney circle circuit citizen claim class clause
    clerk cliff climate clinic clock cloth cloud coach coal coast coat coin collar colony
    column comb comfort comment committee compass concert concrete copper copy corner cotton
    council country couple courage course court cousin cradle craft crane cream creek crew
    crop crowd crown culture cup current curtain curve custom cycle dairy damage danger data
    daughter debate debt decade deck degree delay delivery demand depth desert desk detail
    device diary diet dinner dish district ditch doctor document dollar domain donkey door
    doubt dozen draft dragon drawer dream dress drill driver drought duty eagle earth echo edge
    editor effect effort egg elbow elder election engine entry envelope error essay estate
    evening event example exchange exhibit exit expert export fabric factor factory failure
    farmer fashion fault feast feather feature fence ferry fever field figure film filter
    finding finger fire fiscal flag flame flight flock flood floor flour flower fluid folder
    forest fork form fortune fossil fountain frame freight friend frost fruit fuel function
    funnel furnace future gallery garage garden garment gate gender giant glacier glass globe
    glove goal grain granite grape graph grass gravel grocery ground group growth guard guest
    guide guitar habit hall hammer handle harbour harvest hazard heading health heart heat
    hedge height helmet herd highway hill history holiday honey hook horizon hospital hotel
    household hunter idea image impact import inch income index industry infant inland insect
    inspection invoice iron island issue item jacket jar jewel joint journal journey judge
    juice jungle junior kernel kettle key kidney kingdom kitchen knee knot label ladder
    lake lamp landlord lane language lantern laptop lawn layer leader league lecture
    ledger lemon length lens lesson letter level lever library licence limit line link lion
    liquid list liver loan lobby locker lodge logic lounge lumber lunch machine magazine magnet
    mail manager manner manual map marble margin marine market marsh mask mason master match
    matter meadow meal measure meat medal medicine member memory menu merchant message metal
    method middle mile mill mineral minute mirror mission mixture model module moment money
    monitor month moon morning mortgage motion motor mountain mouth movement muscle
    museum music
    """
)

VERBS = words(
    """
    accept add adjust admire admit advise agree allow amend announce appear apply approach
    approve argue arrange arrive ask assemble assign assist assume attach attack attend avoid
    bake balance behave belong blame boil borrow bother bounce breathe calculate call cancel
    carry carve cause celebrate challenge change check circulate claim clean clear climb close
    collect combine command compare complain complete compose concern conclude confirm connect
    consider consult consume contain continue convert cook copy correct cover create cross
    cultivate damage dance debate decide declare decline decorate defend define delay deliver
    depend describe deserve design destroy detect develop discover discuss display dissolve
    divide donate double doubt drain dress drift earn educate elect embrace emerge employ
    enable encourage enforce enjoy enter escape establish evaluate examine exclude exist expand
    expect explain explore express extend face fade fail fasten fetch file fill filter finish
    fold follow force form found freshen gather generate govern grade greet guarantee guard
    guide handle happen harvest heat highlight hope hunt identify ignore imagine import improve
    include increase indicate inform inherit injure inspect install intend introduce invent
    invest invite join judge kick knock label lack land last launch lead learn level lift limit
    link listen live load locate lock look lower manage march mark mention merge mix move
    """
)

ADJECTIVES = words(
    """
    able absent active actual adequate ancient angry annual anxious available average aware
    basic bitter bold brief bright broad busy calm careful central cheap civil classic clean
    clever coastal cold common compact complete complex constant cool correct costly crucial
    curious current damp dark deep dense different direct distant domestic double dry early
    eastern easy elegant empty endless entire equal exact excellent external extra faint fair
    familiar famous fertile final fine firm flat fluent foreign formal former fragile frequent
    fresh friendly frozen full general gentle genuine global golden grand grateful green hard
    harsh heavy helpful hidden high hollow honest hot huge humble hungry ideal idle important
    initial inner internal joint keen kind large late lazy legal level light likely liquid
    little live local long loose loud low loyal lucky main major mature medical mild minor
    mobile modern modest moist monthly moral musical mutual narrow native natural neat nervous
    neutral new nice noble noisy normal northern novel numerous obvious odd official old open
    """
)

ADVERBS = words(
    """
    again ahead almost already always apart barely briefly carefully clearly closely daily
    deeply directly early easily even exactly fairly finally firmly freely fully gently gladly
    greatly hardly heavily hourly jointly just kindly largely lately loosely loudly mainly
    mostly nearly neatly never newly nicely
    """
)

PLACES = words(
    """
    Alderton Amblecote Ashbourne Barnholt Bellhaven Birchwood Blackmere Brackley Bramfield
    Briarcliff Caldermouth Carrowby Cedarville Chelford Clayhurst Coldbrook Copperfield Cragston
    Dunbarrow Eastmarsh Edgewater Elmsworth Fairhaven Farnley Fernhill Foxborough Glenmoor
    Grangeford Greystone Hallowdale Harrowgate Hawkesbury Hazelton Heathrow Highcliff Holloway
    Ironbridge Kestrelton Kingsmere Lakeford Langdale Larkspur Linfield Longmarsh Maplewood
    Marlborough Medford Millbrook
    """
)

FIRST_NAMES = words(
    """
    Aaron Abigail Adrian Agnes Alan Alice Amara Andre Anita Anton Arthur Astrid Barbara Basil
    Beatrice Benjamin Bianca Boris Brenda Bruno Camille Carlos Carmen Cecil Chandra Charles
    Clara Colin Cynthia Damian Daniel Daphne David Deborah Dennis Diana Dmitri Dorothy Edgar
    Edith Edward Elena Elias Ellen Emil Emma Eric Esther Ethan Eva Felix Fiona Florence Frank
    Gabriel George Gerald Gloria Gordon Grace Gregor Hannah Harold Hassan Hazel Heidi Helen
    Henry Hugo Ian Ida Imogen Ingrid Irene Isaac Ivan Ivy Jack James Jane Jasmine Jerome Joan
    """
)

SURNAMES = words(
    """
    Abbott Ackerman Albrecht Aldridge Anderson Appleton Archer Arnold Atkinson Bailey Baker
    Banerjee Barlow Barrett Bartlett Becker Bennett Berger Bishop Blackwood Bradford Brandt
    Brooks Buchanan Burgess Burton Cameron Campbell Carlson Carpenter Castillo Chambers Chapman
    Chaudhry Clarke Coleman Collins Connolly Cooper Costa Crawford Cunningham Dalton Davenport
    Dawson Delgado Dixon Donovan Drummond Duncan Eastwood Edwards Eklund Elliott Emerson Evans
    Farrell Faulkner Ferguson Fernandez Fischer Fleming Forsyth Foster Fraser Friedman Gallagher
    Garcia Gardner Gibson Gilbert Goodwin Graham Greenwood Griffin Gupta Haines Halvorsen
    Hamilton Hansen Harper Hartley Hawkins Henderson Hoffmann Holbrook Hughes Hutchinson Ibrahim
    Ingram Iyer Jacobsen Jansen Jefferson Jennings Johansson Kapoor Keller Kendrick Khan Knight
    Kowalski Kruger Lambert Larsen Lawson Leclerc Lindqvist Lombardi Mackenzie Maddox Maguire
    """
)

PRODUCTS = phrases(
    """
    almond|apple juice|bagel|baking soda|banana|beef mince|biscuit|black tea|blueberry jam
    |brown rice|butter salted|cabbage|carrot|cheddar|cherry cola|chicken wing|chilli oil
    |chocolate bar|cinnamon|coconut milk|coffee bean|corn flakes|cotton bud|cream cheese
    |cucumber|dish soap|dog food|egg large|energy drink|fabric softener|face mask|feta|fish
    fillet|foil roll|freezer bag|garlic bread|ginger beer|glue stick|grapefruit|green pea|ham
    sliced|hand soap|hazelnut|honey jar|hot sauce|iced tea|instant noodle|kidney bean|kitchen
    towel|lamb chop|lemonade|lentil soup|light bulb|macaroni|mango|maple syrup|marmalade|mayo
    light|mineral water|mixed nut|muesli|mushroom|mustard
    """
)
