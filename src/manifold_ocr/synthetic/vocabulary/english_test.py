"""English words of the test split only; none of them stands in english_train.py."""

from manifold_ocr.synthetic.grammar import phrases, words

NOUNS = words(
    """
    nail nation nature neck needle neighbour nephew network night noise noon notebook notice
    novelty nucleus number nurse oak oat object ocean offer office officer olive onion opinion
    option orange orbit orchard order organ origin outcome oven owner oxygen oyster package
    page pain paint palace panel panic paper parade parcel parent park parrot partner party
    passage passenger pasture patent path patient pattern payment peace peak pearl peasant pen
    pencil pepper percent period permit person phase photo phrase piano picnic picture piece
    pigeon pillar pillow pilot pioneer pipe pistol pitch planet plank plant plastic plate
    platform player pleasure plot plough pocket poem poet point policy polish pond pool port
    portion portrait post potato pottery pound powder power practice prairie prayer premium
    presence press price pride prince printer prison privilege prize problem process produce
    profit project promise proof property proposal province pulse pump pupil purchase puzzle
    quality quarry quartz queen question queue quilt rabbit race radar radio rail railway rain
    ranch range ratio reason rebate receipt recipe record reef refund region relief remark
    remedy rent repair report request rescue resin resort result retail review reward rhythm
    ribbon rice rider ridge rifle ring river roast robin rocket role roof room root rope route
    royalty rubber rudder ruler rumour saddle safety salad salary salmon salt sample sand
    satellite sauce scale scene schedule scheme scholar school science scissors score screen
    screw sculpture season seat sector seed segment senate sentence sequence series session
    shadow shaft shell shelter shield ship shirt shoe shop shore shoulder shovel shower
    signal silence silk silver singer sister skill skin sky sleeve slope smoke snow soap soil
    soldier solution sound soup source spark speech speed sphere spice spider spoon sport
    spring square squirrel stable stage stair stamp standard star statement station statue
    steam steel stem stock stomach stone storm story stove strait stream street student studio
    subject suburb success sugar suit summer surface surgeon survey symbol system table tailor
    talent target task temple tenant theatre theory thread throat thunder ticket tide timber
    tissue title tobacco tomato tongue tool tower township trade traffic trail train
    treaty tree trend tribe trophy trumpet trunk tunnel turbine tutor umbrella uncle uniform
    union unit universe valley value vapour vehicle vein velvet vessel veteran victory video
    village vine violin vision visitor voice volcano volume voyage wagon waist wall warehouse
    warning water wave weapon weather wedding weight whale wheat wheel whisper widow window
    winter wire wisdom witness wizard wool worker workshop yard year zone
    """
)

VERBS = words(
    """
    name need notice obey observe obtain occupy occur offer operate order organise owe own
    pack paint park pass perform permit phone pick place play please point polish possess pour
    praise prefer prepare preserve pretend prevent print proceed produce promise propose protect
    prove provide publish pull pump purchase push question race raise reach realise receive
    recognise recommend record recover reduce reflect refuse regret reject relax release rely
    remain remember remind remove repair repeat replace report request require rescue resemble
    resist resolve respect respond rest restore retain retire return reveal review reward roll
    sail satisfy scatter search select separate serve settle share shout sign signal smile
    smoke solve sound spoil stare start state store stretch study submit succeed suffer suggest
    suit supply support suppose surprise surround survive suspect switch talk taste test thank
    tie touch trace trade train transfer travel treat trust try turn type unite use value
    vanish vary visit wait walk wander want warn wash waste watch weigh welcome whisper wonder
    work worry wrap yield
    """
)

ADJECTIVES = words(
    """
    pale parallel partial patient perfect permanent personal plain pleasant plural polite poor
    popular positive possible precious precise pretty previous primary prime private prompt
    proper proud public pure quick quiet random rapid rare raw ready real recent regular
    relevant reliable remote rich rigid rough round royal rural sacred sad safe scarce secret
    secure senior sensible serious severe shallow sharp short shy significant silent similar
    simple single slender slow small smart smooth social soft solar solid southern spare
    special stable steady steep stiff still straight strange strict strong subtle sudden
    suitable sunny superb sweet swift tall tender thick thin tidy tight tiny total tough
    tropical true typical ugly unique upper urban urgent useful usual vacant vague valid
    various vast vertical violet visible vital vivid warm weak wealthy weekly western wet white
    whole wide wild wise wonderful wooden yellow young
    """
)

ADVERBS = words(
    """
    often once openly partly perhaps plainly politely poorly promptly properly proudly quickly
    quietly quite rapidly rarely really recently sadly safely seldom sharply shortly silently
    simply slightly slowly smoothly softly somewhat soon steadily still strongly suddenly surely
    swiftly together truly twice usually warmly weekly widely yearly
    """
)

PLACES = words(
    """
    Netherfield Northwick Oakhampton Oldbury Otterburn Overton Pembridge Penrose Pinecrest
    Quarrington Ravenscar Redcliffe Ridgemont Rockport Rosewood Saltmarsh Sandringham Shelbourne
    Silverdale Southgate Springfield Stanbrook Stonehaven Summerfield Sutterby Tamarind Thornbury
    Tidewater Trentham Underhill Valleyford Verwood Wakefield Waterford Westerly Whitcombe
    Wickford Willowdale Winterton Woodbridge Wrexley Yarborough
    """
)

FIRST_NAMES = words(
    """
    Katherine Keiko Kenneth Klaus Kumar Laura Lawrence Leila Leonard Lionel Lorenzo Louise Lucas
    Lydia Magnus Malcolm Marcus Margaret Marina Martha Matteo Maurice Maxine Miguel Milan Miriam
    Monica Nadia Naomi Natalie Neville Nicholas Nina Noah Nora Octavia Olaf Oliver Oscar Owen
    Patricia Paula Percy Petra Philip Phoebe Priya Quentin Rachel Rafael Ralph Raymond Rebecca
    Rosa Rupert Ruth Samuel Sandra Sebastian Selma Simon Sofia Stella Steven Sven Sylvia Tamara
    Tobias Ursula Valerie Victor Vincent Viola Walter Wendy Xavier Yusuf Yvonne Zachary
    """
)

SURNAMES = words(
    """
    Nakamura Napier Neumann Newton Nguyen Nicholson Norwood Novak Oakley Okafor Olsen Orlando
    Osborne Pacheco Palmer Parkinson Patterson Pemberton Perkins Petrov Phillips Pickering
    Porter Prescott Quigley Quinn Ramirez Ramsay Rasmussen Reynolds Richter Robertson Rossi
    Rothwell Rutherford Sanchez Sandoval Saunders Schneider Schofield Schulz Sharma Shepherd
    Siddiqui Silva Sinclair Sokolov Somerville Stafford Steiner Stephens Strickland Sullivan
    Suzuki Svensson Takahashi Templeton Thackeray Thompson Thornton Torres Townsend Turner
    Underwood Upton Valentine Vasquez Vaughan Villanueva Volkov Wainwright Wallace Watanabe
    Weber Webster Wellington Whitaker Wilkinson Winslow Woodward Wright Yamamoto Yates Zhang
    Zielinski Zimmermann
    """
)

PRODUCTS = phrases(
    """
    napkin|noodle soup|nutmeg|oat bran|olive oil|onion ring|orange squash|oregano|paper plate
    |parsley|passion fruit|peanut spread|pear|pepperoni|pickle|pineapple|pitta|pizza dough
    |plaster strip|plum|pomegranate|popcorn|pork loin|potato crisp|prawn|quinoa|radish|raisin
    |raspberry|razor blade|red wine vinegar|rye loaf|salami|sandwich tuna|sea salt|sesame oil
    |shampoo|sour cream|soy drink|sparkling water|spinach|sponge|stapler|strawberry|sunflower
    oil|sweetcorn|tomato puree|toothpaste|tortilla|turkey breast|vanilla pod|vegetable stock
    |walnut|washing powder|watermelon|wet wipe|white bread|yeast|yoghurt plain|zucchini
    """
)
